"""The buffer in memory, which is limited and ends with the process."""

import time
from pathlib import Path

from tests.recorder.entries import FOREVER, add_events, as_parked
from usage_recorder.buffers import Buffer
from usage_recorder.memory import MemoryBuffer
from usage_recorder.spool import Spool


def test_when_too_many_are_parked_memory_discards_the_oldest_and_a_spool_none(tmp_path: Path) -> None:
    memory, spool = MemoryBuffer(10, max_parked=2), Spool(tmp_path / "spool", 10)
    buffers: list[tuple[Buffer, str]] = [(memory, "ab"), (spool, "")]
    for buffer, given_up in buffers:
        add_events(buffer, "a", "b", "c", "d")
        gone = buffer.park([as_parked(each) for each in buffer.take(10, 1000, FOREVER)])
        assert [each.text for each in gone] == list(given_up)
        assert [each.text for each in buffer.parked()] == [each for each in "abcd" if each not in given_up]
    spool.close()


def test_memory_discards_events_without_an_automatic_retry_first() -> None:
    buffer = MemoryBuffer(10, max_parked=3)
    add_events(buffer, "a", "b", "c", "d", "e", "f")
    soon = time.time() + 60
    a, b, c, d, e, f = buffer.take(10, 1000, FOREVER)
    assert buffer.park([as_parked(a, soon), as_parked(b), as_parked(c)]) == []
    assert [each.text for each in buffer.park([as_parked(d, soon)])] == ["b"]
    assert [each.text for each in buffer.park([as_parked(e, soon), as_parked(f)])] == ["c", "f"]
    assert [each.text for each in buffer.parked()] == ["a", "d", "e"]


def test_when_all_are_retried_memory_discards_the_oldest() -> None:
    buffer = MemoryBuffer(10, max_parked=2)
    add_events(buffer, "a", "b", "c")
    gone = buffer.park([as_parked(each, time.time() + 60) for each in buffer.take(10, 1000, FOREVER)])
    assert [each.text for each in gone] == ["a"]
    assert [each.text for each in buffer.parked()] == ["b", "c"]


def test_memory_is_polled_when_a_pause_ends() -> None:
    buffer = MemoryBuffer(10)
    add_events(buffer, "a", "b")
    assert [buffer.poll_seconds] == [None]
    first, second = buffer.take(2, 1000, FOREVER)
    buffer.park([as_parked(first)])
    assert [buffer.poll_seconds] == [None]
    buffer.park([as_parked(second, time.time() + 0.1)])
    pause = buffer.poll_seconds
    assert pause is not None
    assert pause <= 0.1
