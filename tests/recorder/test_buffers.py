"""The two buffers keep the same promises: one in memory, one on disk."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from usage_recorder import SpoolFailed
from usage_recorder.buffers import Buffer, Entry, MemoryBuffer
from usage_recorder.spool import LONGEST_CLAIM, Spool

MakeBuffer = Callable[[int], Buffer]
FOREVER = 600.0


@pytest.fixture(params=["memory", "spool"])
def make_buffer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeBuffer]:
    made: list[Buffer] = []

    def make(most: int) -> Buffer:
        made.append(MemoryBuffer(most) if request.param == "memory" else Spool(tmp_path / "spool", most))
        return made[-1]

    yield make
    for each in made:
        each.close()


def texts(entries: list[Entry]) -> list[str]:
    return [entry.text for entry in entries]


def added(buffer: Buffer, *names: str) -> list[Entry]:
    entries = [buffer.add(name) for name in names]
    assert all(entries)
    return [entry for entry in entries if entry]


def test_first_in_first_out_and_nobody_takes_what_is_taken(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(10)
    added(buffer, "a", "b", "c")
    assert texts(buffer.take(2, 1000, FOREVER)) == ["a", "b"]
    assert texts(buffer.take(2, 1000, FOREVER)) == ["c"]
    assert buffer.take(2, 1000, FOREVER) == []
    assert (len(buffer), buffer.waiting(10)) == (3, 0)


def test_what_is_released_waits_behind_the_others(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(10)
    added(buffer, "a", "b", "c")
    batch = buffer.take(2, 1000, FOREVER)
    buffer.settle(batch[:1])
    buffer.release(batch)  # what is settled stays settled
    assert buffer.waiting(10) == 2
    assert texts(buffer.take(10, 1000, FOREVER)) == ["c", "b"]


def test_there_is_no_room_for_more_than_allowed_taken_or_not(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(2)
    added(buffer, "a", "b")
    assert buffer.add("c") is None
    batch = buffer.take(1, 1000, FOREVER)
    assert buffer.add("c") is None
    buffer.settle(batch)
    assert buffer.add("c")
    assert buffer.add("d") is None
    assert len(buffer) == 2


def test_a_batch_is_bounded_in_bytes_but_never_empty(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(10)
    added(buffer, "x" * 100, "y" * 30, "z" * 30)
    assert texts(buffer.take(10, 50, FOREVER)) == ["x" * 100]
    assert texts(buffer.take(10, 50, FOREVER)) == ["y" * 30]
    assert texts(buffer.take(10, 50, FOREVER)) == ["z" * 30]


def test_what_is_taken_as_it_comes_is_not_waiting(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(10)
    entry = buffer.add("a", taken_for=FOREVER)
    assert entry
    assert (len(buffer), buffer.waiting(10)) == (1, 0)
    buffer.release([entry])
    assert buffer.waiting(10) == 1


def test_it_knows_what_is_older_than_a_mark(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(10)
    first, second = added(buffer, "a", "b")
    mark = buffer.last_number()
    added(buffer, "c")
    assert mark == second.number
    buffer.settle(buffer.take(1, 1000, FOREVER))
    assert buffer.holds_up_to(mark)
    assert not buffer.holds_up_to(first.number)
    buffer.settle(buffer.take(1, 1000, FOREVER))
    assert not buffer.holds_up_to(mark)


def test_a_spool_keeps_what_was_in_it_and_voids_claims_that_are_over(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "new" / "spool", 3)
    added(spool, "taken long ago", "waiting", "taken a moment ago")
    spool.take(1, 1000, -1)
    [waiting, _] = spool.take(2, 1000, FOREVER)
    spool.release([waiting])
    spool.close()
    again = Spool(tmp_path / "new" / "spool", 3)
    assert again.add("no room") is None
    assert sorted(texts(again.take(10, 1000, FOREVER))) == ["taken long ago", "waiting"]
    again.close()


def test_a_claim_by_a_clock_that_was_set_back_is_void(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", 10)
    added(spool, "a")
    assert texts(spool.take(1, 1000, 2 * LONGEST_CLAIM)) == ["a"]
    assert texts(spool.take(1, 1000, FOREVER)) == ["a"]
    spool.close()


def test_a_forked_process_asks_a_spool_for_its_own_alone(tmp_path: Path) -> None:
    parents, childs = Spool(tmp_path / "spool", 10), Spool(tmp_path / "spool", 10, own_only=True)
    added(parents, "a")
    assert not childs.holds_up_to(childs.last_number())
    [own] = added(childs, "b")
    mark = childs.last_number()
    [later] = added(childs, "c")
    assert childs.holds_up_to(mark)
    assert not childs.holds_up_to(own.number - 1)
    parents.settle([own])  # whoever it was
    assert not childs.holds_up_to(mark)
    assert childs.holds_up_to(later.number)
    childs.settle([later])
    for _ in range(50):
        childs.settle(added(childs, "d"))
    assert childs._own is not None
    assert len(childs._own) <= 20
    assert not childs.holds_up_to(childs.last_number())
    parents.close()
    childs.close()


def test_a_spool_is_its_owners_alone(tmp_path: Path) -> None:
    Spool(tmp_path / "spool", 10).close()
    assert (tmp_path / "spool").stat().st_mode & 0o077 == 0


def test_a_file_that_is_no_spool_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "precious"
    file.write_text("not a database, but long enough to be looked at as if it were one" * 20)
    before = file.read_bytes()
    with pytest.raises(SpoolFailed, match="precious cannot be opened"):
        Spool(file, 10)
    assert file.read_bytes() == before
    with pytest.raises(SpoolFailed):
        Spool(tmp_path, 10)
