"""Parked events in a buffer, in memory or in a file."""

import time

import pytest

from tests.recorder.entries import (
    FOREVER,
    MakeBuffer,
    add_events,
    as_parked,
    buffer_with_due_retries,
    texts_of,
    unchanged,
)
from usage_recorder.buffers import MAX_CLAIM_SECONDS


def test_a_parked_event_takes_no_room_and_is_not_sent(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(1)
    [entry] = add_events(buffer, "a")
    assert buffer.park([as_parked(buffer.take(1, 1000, FOREVER)[0])]) == []
    assert buffer.parked() == [as_parked(entry)]
    assert (len(buffer), buffer.waiting(10), buffer.take(10, 1000, FOREVER)) == (0, 0, [])
    assert not buffer.holds_up_to(entry.number)
    assert not buffer.postpones_up_to(entry.number)
    assert buffer.add("b")


def test_a_postponed_event_is_taken_when_its_retry_is_due(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(10)
    add_events(buffer, "later", "soon", "sooner")
    now = time.time()
    later, soon, sooner = buffer.take(3, 1000, FOREVER)
    buffer.park([as_parked(later, now + 60), as_parked(soon, now - 1), as_parked(sooner, now - 2)])
    add_events(buffer, "new")
    assert (len(buffer), buffer.waiting(10), buffer.waiting(2)) == (4, 3, 2)
    assert buffer.postpones_up_to(later.number)
    assert not buffer.postpones_up_to(later.number - 1)
    taken = buffer.take(10, 1000, FOREVER)
    assert [(each.text, each.since) for each in taken] == [("sooner", 100.0), ("new", None), ("soon", 100.0)]
    assert buffer.take(10, 1000, FOREVER) == []
    buffer.release(taken[:2])
    assert texts_of(buffer.take(10, 1000, FOREVER)) == ["sooner", "new"]
    buffer.settle(taken)
    assert [each.text for each in buffer.parked()] == ["later"]
    assert len(buffer) == 1


@pytest.mark.parametrize(
    ("retries", "new", "expected"),
    [
        pytest.param(6, 40, "rr" + "n" * 18, id="a tenth if there are enough new events"),
        pytest.param(1, 40, "r" + "n" * 19, id="no place stays free if there are fewer retries"),
        pytest.param(30, 3, "rr" + "nnn" + "r" * 15, id="a tenth and the places that new events leave"),
        pytest.param(30, 0, "r" * 20, id="all places if there are no new events"),
    ],
)
def test_due_retries_get_a_tenth_of_each_batch(make_buffer: MakeBuffer, retries: int, new: int, expected: str) -> None:
    buffer = buffer_with_due_retries(make_buffer, retries, new)
    assert "".join(texts_of(buffer.take(20, 10_000, FOREVER))) == expected


def test_in_batches_of_one_neither_retries_nor_new_events_starve(make_buffer: MakeBuffer) -> None:
    """Batches are that small while the service is slow, or if `max_batch` is 1."""
    buffer, chosen = buffer_with_due_retries(make_buffer, 1, 1), []
    for _ in range(300):
        batch = buffer.take(1, 10_000, FOREVER)
        chosen += texts_of(batch)
        buffer.release(batch)
    assert {"r", "n"} == set(chosen)
    assert chosen.count("r") < 100


def test_when_a_retry_fails_it_is_due_again_after_a_pause(make_buffer: MakeBuffer) -> None:
    buffer = buffer_with_due_retries(make_buffer, 1, 1)
    buffer.release(buffer.take(10, 1000, FOREVER), 60)
    assert texts_of(buffer.take(10, 1000, FOREVER)) == ["n"], "new events are not paused"
    [parked] = buffer.parked()
    assert parked.retry_at == pytest.approx(time.time() + 60, abs=10)


def test_when_an_event_is_refused_again_the_first_refusal_counts(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(10)
    add_events(buffer, "a")
    [entry] = buffer.take(1, 1000, FOREVER)
    buffer.park([as_parked(entry, 0.0)])
    [again] = buffer.take(1, 1000, FOREVER)
    assert again.number == entry.number
    buffer.park([as_parked(again, problem='{"code": "new"}')])
    assert buffer.parked() == [as_parked(entry, problem='{"code": "new"}')]
    buffer.release([again])
    assert buffer.waiting(10) == 0, "it is not retried automatically"


def test_when_the_same_event_is_refused_twice_it_is_parked_once(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(10)
    first, second, third = add_events(buffer, "a", "b", "c")
    buffer.take(3, 1000, FOREVER)
    buffer.park([as_parked(first, 500.0, identity="same"), as_parked(second, 600.0, since=200.0, identity="same")])
    assert buffer.parked() == [as_parked(first, 600.0, identity="same")]
    buffer.park([as_parked(first, None, identity="same")])
    buffer.park([as_parked(third, 700.0, since=300.0, identity="same")])
    assert buffer.parked() == [as_parked(first, 700.0, since=300.0, identity="same")], "its day of retries begins again"
    assert not buffer.holds_up_to(third.number)


def test_an_unparked_event_is_sent_as_a_new_one(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(1)
    [entry] = add_events(buffer, "a")
    buffer.park([as_parked(buffer.take(1, 1000, FOREVER)[0])])
    add_events(buffer, "b")
    assert buffer.unpark([entry.number, 99], unchanged) == 1
    assert buffer.unpark([entry.number], unchanged) == 0
    assert buffer.parked() == []
    assert buffer.holds_up_to(buffer.last_number())
    assert buffer.last_number() > entry.number
    assert [(each.text, each.since) for each in buffer.take(10, 1000, FOREVER)] == [("b", None), ("a", None)]


def test_unparking_may_change_the_json(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(3)
    add_events(buffer, "a", "b", "c")
    buffer.park([as_parked(each, problem=each.text * 2) for each in buffer.take(3, 1000, FOREVER)])
    numbers = [each.number for each in buffer.parked()]
    assert buffer.unpark(numbers[:2], lambda parked: f"{parked.text}, refused: {parked.problem}") == 2
    assert texts_of(buffer.take(3, 1000, FOREVER)) == ["a, refused: aa", "b, refused: bb"]
    assert [each.text for each in buffer.parked()] == ["c"]


def test_events_dropped_or_unparked_meanwhile_are_not_parked_again(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(10)
    add_events(buffer, "a", "b")
    buffer.park([as_parked(each, 0.0) for each in buffer.take(2, 1000, FOREVER)])
    sending = buffer.take(2, 1000, FOREVER)
    assert buffer.drop([sending[0].number, 99]) == 1
    assert buffer.unpark([sending[1].number], unchanged) == 1
    buffer.park([as_parked(each) for each in sending])
    buffer.release(sending)
    assert buffer.parked() == []
    assert texts_of(buffer.take(10, 1000, FOREVER)) == ["b"]


def test_when_the_clock_is_set_back_pauses_end(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(10)
    add_events(buffer, "a")
    buffer.park([as_parked(each, time.time() + MAX_CLAIM_SECONDS + 60) for each in buffer.take(1, 1000, FOREVER)])
    assert texts_of(buffer.take(1, 1000, FOREVER)) == ["a"]
