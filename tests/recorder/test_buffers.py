"""The two buffers keep the same promises: one in memory, one on disk."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from usage_recorder import SpoolFailed
from usage_recorder.buffers import MAX_CLAIM_SECONDS, Buffer, Entry, ParkedEntry
from usage_recorder.memory import MemoryBuffer
from usage_recorder.spool import Spool

MakeBuffer = Callable[[int], Buffer]
FOREVER = 600.0


OTHERS_DATABASE = "CREATE TABLE event (id INTEGER PRIMARY KEY); INSERT INTO event VALUES (1);"


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
    entry = buffer.add("a", claim_seconds=FOREVER)
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
    assert texts(spool.take(1, 1000, 2 * MAX_CLAIM_SECONDS)) == ["a"]
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


@pytest.mark.parametrize("existing", [False, True])
def test_a_database_of_something_else_is_left_alone(tmp_path: Path, existing: bool) -> None:
    """Even if it has a table by the same name as one of ours."""
    path = tmp_path / "orders.sqlite"
    others = sqlite3.connect(path)
    others.executescript(OTHERS_DATABASE)
    others.close()
    before = path.read_bytes()
    with pytest.raises(SpoolFailed, match=r"orders\.sqlite is not a spool"):
        Spool(path, 10, existing=existing)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["orders.sqlite"]


def test_an_empty_file_becomes_a_spool_only_for_who_may_make_one(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    path.touch()
    with pytest.raises(SpoolFailed, match="is not a spool"):
        Spool(path, 10, existing=True)
    assert path.read_bytes() == b""
    Spool(path, 10).close()
    Spool(path, 10, existing=True).close()


# --- Parked events ---------------------------------------------------------------------------


def refused(entry: Entry, retry_at: float | None = None, **more: Any) -> ParkedEntry:
    values = {"since": 100.0, "problem": "{}", "identity": entry.text}
    return ParkedEntry(number=entry.number, text=entry.text, retry_at=retry_at, **(values | more))


def as_it_was(parked: ParkedEntry) -> str:
    return parked.text


def test_what_is_parked_leaves_its_room_to_others_and_waits_for_a_person(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(1)
    [entry] = added(buffer, "a")
    assert buffer.park([refused(*buffer.take(1, 1000, FOREVER))]) == []
    assert buffer.parked() == [refused(entry)]
    assert (len(buffer), buffer.waiting(10), buffer.take(10, 1000, FOREVER)) == (0, 0, [])
    assert not buffer.holds_up_to(entry.number)
    assert not buffer.postpones_up_to(entry.number)
    assert buffer.add("b")


def test_what_is_postponed_is_taken_when_its_time_has_come(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(10)
    added(buffer, "later", "soon", "sooner")
    now = time.time()
    later, soon, sooner = buffer.take(3, 1000, FOREVER)
    buffer.park([refused(later, now + 60), refused(soon, now - 1), refused(sooner, now - 2)])
    added(buffer, "new")
    assert (len(buffer), buffer.waiting(10), buffer.waiting(2)) == (4, 3, 2)
    assert buffer.postpones_up_to(later.number)
    assert not buffer.postpones_up_to(later.number - 1)
    taken = buffer.take(10, 1000, FOREVER)
    assert [(each.text, each.since) for each in taken] == [("sooner", 100.0), ("new", None), ("soon", 100.0)]
    assert buffer.take(10, 1000, FOREVER) == []
    buffer.release(taken[:2])
    assert texts(buffer.take(10, 1000, FOREVER)) == ["sooner", "new"]
    buffer.settle(taken)
    assert [each.text for each in buffer.parked()] == ["later"]
    assert len(buffer) == 1


def with_due_retries(make_buffer: MakeBuffer, retries: int, new: int) -> Buffer:
    """A buffer with that many retries that are due, the texts of which are `r`, and new events, `n`."""
    buffer = make_buffer(retries + new)
    added(buffer, *"r" * retries)
    taken = buffer.take(retries, 10_000, FOREVER)
    buffer.park([refused(each, time.time() - 1, identity=str(each.number)) for each in taken])
    added(buffer, *"n" * new)
    return buffer


@pytest.mark.parametrize(
    ("retries", "new", "expected"),
    [
        pytest.param(6, 40, "rr" + "n" * 18, id="a tenth while there are more than enough new events"),
        pytest.param(1, 40, "r" + "n" * 19, id="no place is kept free"),
        pytest.param(30, 3, "rr" + "nnn" + "r" * 15, id="and what new events leave"),
        pytest.param(30, 0, "r" * 20, id="all if there is nothing new"),
    ],
)
def test_due_retries_get_a_tenth_of_each_batch_however_many_events_are_new(
    make_buffer: MakeBuffer, retries: int, new: int, expected: str
) -> None:
    buffer = with_due_retries(make_buffer, retries, new)
    assert "".join(texts(buffer.take(20, 10_000, FOREVER))) == expected


def test_neither_retries_nor_new_events_starve_in_batches_of_one(make_buffer: MakeBuffer) -> None:
    """For as long as the service is slow or the setting says so."""
    buffer, chosen = with_due_retries(make_buffer, 1, 1), []
    for _ in range(300):
        batch = buffer.take(1, 10_000, FOREVER)
        chosen += texts(batch)
        buffer.release(batch)
    assert {"r", "n"} == set(chosen)
    assert chosen.count("r") < 100


def test_a_retry_that_the_service_fails_for_is_due_again_after_a_pause(make_buffer: MakeBuffer) -> None:
    buffer = with_due_retries(make_buffer, 1, 1)
    buffer.release(buffer.take(10, 1000, FOREVER), 60)
    assert texts(buffer.take(10, 1000, FOREVER)) == ["n"], "new events wait for no pause"
    [parked] = buffer.parked()
    assert parked.retry_at == pytest.approx(time.time() + 60, abs=10)


def test_what_is_refused_again_stays_parked_since_the_first_time(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(10)
    added(buffer, "a")
    [entry] = buffer.take(1, 1000, FOREVER)
    buffer.park([refused(entry, 0.0)])
    [again] = buffer.take(1, 1000, FOREVER)
    assert again.number == entry.number
    buffer.park([refused(again, problem='{"code": "new"}')])
    assert buffer.parked() == [refused(entry, problem='{"code": "new"}')]
    buffer.release([again])
    assert buffer.waiting(10) == 0, "it waits for a person"


def test_the_same_event_refused_twice_is_parked_once(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(10)
    first, second, third = added(buffer, "a", "b", "c")
    buffer.take(3, 1000, FOREVER)
    buffer.park([refused(first, 500.0, identity="same"), refused(second, 600.0, since=200.0, identity="same")])
    assert buffer.parked() == [refused(first, 600.0, identity="same")]
    buffer.park([refused(first, None, identity="same")])
    buffer.park([refused(third, 700.0, since=300.0, identity="same")])
    assert buffer.parked() == [refused(first, 700.0, since=300.0, identity="same")], "it has all the time once more"
    assert not buffer.holds_up_to(third.number)


def test_parked_events_are_sent_again_as_if_they_were_new(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(1)
    [entry] = added(buffer, "a")
    buffer.park([refused(*buffer.take(1, 1000, FOREVER))])
    added(buffer, "b")
    assert buffer.unpark([entry.number, 99], as_it_was) == 1
    assert buffer.unpark([entry.number], as_it_was) == 0
    assert buffer.parked() == []
    assert buffer.holds_up_to(buffer.last_number())
    assert buffer.last_number() > entry.number
    assert [(each.text, each.since) for each in buffer.take(10, 1000, FOREVER)] == [("b", None), ("a", None)]


def test_a_parked_event_may_be_sent_again_in_other_words(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(3)
    added(buffer, "a", "b", "c")
    buffer.park([refused(each, problem=each.text * 2) for each in buffer.take(3, 1000, FOREVER)])
    numbers = [each.number for each in buffer.parked()]
    assert buffer.unpark(numbers[:2], lambda parked: f"{parked.text}, once {parked.problem}") == 2
    assert texts(buffer.take(3, 1000, FOREVER)) == ["a, once aa", "b, once bb"]
    assert [each.text for each in buffer.parked()] == ["c"]


def test_what_was_dropped_or_sent_anew_meanwhile_is_not_parked_again(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(10)
    added(buffer, "a", "b")
    buffer.park([refused(each, 0.0) for each in buffer.take(2, 1000, FOREVER)])
    sending = buffer.take(2, 1000, FOREVER)
    assert buffer.drop([sending[0].number, 99]) == 1
    assert buffer.unpark([sending[1].number], as_it_was) == 1
    buffer.park([refused(each) for each in sending])
    buffer.release(sending)
    assert buffer.parked() == []
    assert texts(buffer.take(10, 1000, FOREVER)) == ["b"]


def test_memory_gives_up_what_was_parked_first_and_a_spool_nothing(tmp_path: Path) -> None:
    memory, spool = MemoryBuffer(10, max_parked=2), Spool(tmp_path / "spool", 10)
    buffers: list[tuple[Buffer, str]] = [(memory, "ab"), (spool, "")]
    for buffer, given_up in buffers:
        added(buffer, "a", "b", "c", "d")
        gone = buffer.park([refused(each) for each in buffer.take(10, 1000, FOREVER)])
        assert [each.text for each in gone] == list(given_up)
        assert [each.text for each in buffer.parked()] == [each for each in "abcd" if each not in given_up]
    spool.close()


def test_memory_gives_up_what_waits_for_a_person_before_what_may_still_succeed() -> None:
    buffer = MemoryBuffer(10, max_parked=3)
    added(buffer, "a", "b", "c", "d", "e", "f")
    soon = time.time() + 60
    a, b, c, d, e, f = buffer.take(10, 1000, FOREVER)
    assert buffer.park([refused(a, soon), refused(b), refused(c)]) == []
    assert [each.text for each in buffer.park([refused(d, soon)])] == ["b"]
    assert [each.text for each in buffer.park([refused(e, soon), refused(f)])] == ["c", "f"]
    assert [each.text for each in buffer.parked()] == ["a", "d", "e"]


def test_memory_gives_up_the_oldest_of_those_that_may_all_succeed() -> None:
    buffer = MemoryBuffer(10, max_parked=2)
    added(buffer, "a", "b", "c")
    gone = buffer.park([refused(each, time.time() + 60) for each in buffer.take(10, 1000, FOREVER)])
    assert [each.text for each in gone] == ["a"]
    assert [each.text for each in buffer.parked()] == ["b", "c"]


def test_a_pause_by_a_clock_that_was_set_back_is_over(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(10)
    added(buffer, "a")
    buffer.park([refused(each, time.time() + MAX_CLAIM_SECONDS + 60) for each in buffer.take(1, 1000, FOREVER)])
    assert texts(buffer.take(1, 1000, FOREVER)) == ["a"]


def test_memory_wakes_up_when_a_pause_ends() -> None:
    buffer = MemoryBuffer(10)
    added(buffer, "a", "b")
    assert buffer.poll_seconds is None
    first, second = buffer.take(2, 1000, FOREVER)
    buffer.park([refused(first)])
    assert buffer.poll_seconds is None
    buffer.park([refused(second, time.time() + 0.1)])
    assert buffer.poll_seconds is not None
    assert buffer.poll_seconds <= 0.1


def test_what_would_be_lost_with_the_process_is_known(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(10)
    added(buffer, "final", "postponed", "held")
    final, postponed = buffer.take(2, 1000, FOREVER)
    buffer.park([refused(final), refused(postponed, time.time() + 60)])
    lost = [each.text for each in [*buffer.unsettled(), *buffer.postponed()]]
    assert lost == (["held", "postponed"] if isinstance(buffer, MemoryBuffer) else [])


def test_parked_events_outlive_their_process(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", 10)
    added(spool, "a", "b")
    parked = [refused(each, at) for each, at in zip(spool.take(2, 1000, FOREVER), (None, 0.0), strict=True)]
    spool.park(parked)
    spool.close()
    again = Spool(tmp_path / "spool", 10)
    assert again.parked() == parked
    assert texts(again.take(10, 1000, FOREVER)) == ["b"]
    again.close()


SPOOL_OF_VERSION_1 = """
CREATE TABLE event (number INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL, due REAL NOT NULL);
CREATE INDEX event_due ON event (due, number);
CREATE TABLE held (id INTEGER PRIMARY KEY CHECK (id = 1), events INTEGER NOT NULL);
INSERT INTO held VALUES (1, 0);
CREATE TRIGGER event_added AFTER INSERT ON event BEGIN UPDATE held SET events = events + 1; END;
CREATE TRIGGER event_settled AFTER DELETE ON event BEGIN UPDATE held SET events = events - 1; END;
"""


def test_a_spool_of_before_is_read_on(tmp_path: Path) -> None:
    """It has no table for parked events yet, and the process that made it may go on using it."""
    old = sqlite3.connect(tmp_path / "spool", isolation_level=None)
    old.executescript(SPOOL_OF_VERSION_1)
    old.execute("INSERT INTO event (body, due) VALUES ('old', 0)")
    spool = Spool(tmp_path / "spool", 10)
    old.execute("INSERT INTO event (body, due) VALUES ('newer', 0)")
    assert texts(spool.take(10, 1000, FOREVER)) == ["old", "newer"]
    assert len(spool) == 2
    spool.close()
    old.close()


def test_a_forked_process_asks_a_spool_for_its_own_postponed_events_alone(tmp_path: Path) -> None:
    parents, childs = Spool(tmp_path / "spool", 10), Spool(tmp_path / "spool", 10, own_only=True)
    added(parents, "a")
    parents.park([refused(each, time.time() + 60) for each in parents.take(1, 1000, FOREVER)])
    assert not childs.postpones_up_to(childs.last_number())
    added(childs, "b")
    childs.park([refused(each, time.time() + 60) for each in childs.take(1, 1000, FOREVER)])
    assert childs.postpones_up_to(childs.last_number())
    parents.drop([each.number for each in parents.parked()])
    assert not childs.postpones_up_to(childs.last_number())
    parents.close()
    childs.close()
