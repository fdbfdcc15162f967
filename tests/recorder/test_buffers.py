"""Events in a buffer, in memory or in a file: order, size, and which of them are held."""

import time

from tests.recorder.entries import FOREVER, MakeBuffer, add_events, as_parked, texts_of
from usage_recorder.memory import MemoryBuffer


def test_events_are_taken_in_order_and_only_once(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(10)
    add_events(buffer, "a", "b", "c")
    assert texts_of(buffer.take(2, 1000, FOREVER)) == ["a", "b"]
    assert texts_of(buffer.take(2, 1000, FOREVER)) == ["c"]
    assert buffer.take(2, 1000, FOREVER) == []
    assert (len(buffer), buffer.waiting(10)) == (3, 0)


def test_released_events_wait_behind_the_others(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(10)
    add_events(buffer, "a", "b", "c")
    batch = buffer.take(2, 1000, FOREVER)
    buffer.settle(batch[:1])
    buffer.release(batch)  # settled events are left alone
    assert buffer.waiting(10) == 2
    assert texts_of(buffer.take(10, 1000, FOREVER)) == ["c", "b"]


def test_taken_events_count_towards_the_maximum(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(2)
    add_events(buffer, "a", "b")
    assert buffer.add("c") is None
    batch = buffer.take(1, 1000, FOREVER)
    assert buffer.add("c") is None
    buffer.settle(batch)
    assert buffer.add("c")
    assert buffer.add("d") is None
    assert len(buffer) == 2


def test_a_batch_is_limited_in_bytes_but_never_empty(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(10)
    add_events(buffer, "x" * 100, "y" * 30, "z" * 30)
    assert texts_of(buffer.take(10, 50, FOREVER)) == ["x" * 100]
    assert texts_of(buffer.take(10, 50, FOREVER)) == ["y" * 30]
    assert texts_of(buffer.take(10, 50, FOREVER)) == ["z" * 30]


def test_an_event_added_with_a_claim_is_not_waiting(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(10)
    entry = buffer.add("a", claim_seconds=FOREVER)
    assert entry
    assert (len(buffer), buffer.waiting(10)) == (1, 0)
    buffer.release([entry])
    assert buffer.waiting(10) == 1


def test_a_buffer_knows_if_it_holds_events_up_to_a_number(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(10)
    first, second = add_events(buffer, "a", "b")
    mark = buffer.last_number()
    add_events(buffer, "c")
    assert mark == second.number
    buffer.settle(buffer.take(1, 1000, FOREVER))
    assert buffer.holds_up_to(mark)
    assert not buffer.holds_up_to(first.number)
    buffer.settle(buffer.take(1, 1000, FOREVER))
    assert not buffer.holds_up_to(mark)


def test_a_buffer_lists_the_events_that_would_be_lost_with_the_process(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(10)
    add_events(buffer, "final", "postponed", "held")
    final, postponed = buffer.take(2, 1000, FOREVER)
    buffer.park([as_parked(final), as_parked(postponed, time.time() + 60)])
    lost = texts_of(buffer.unsettled()) + [each.text for each in buffer.postponed()]
    assert lost == (["held", "postponed"] if isinstance(buffer, MemoryBuffer) else [])
