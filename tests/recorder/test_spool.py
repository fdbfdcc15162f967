"""The spool: a file that survives its process and is shared by several."""

import sqlite3
import time
from pathlib import Path

import pytest

from tests.recorder.entries import FOREVER, add_events, as_parked, texts_of
from usage_recorder import SpoolFailed
from usage_recorder.buffers import MAX_CLAIM_SECONDS
from usage_recorder.spool import Spool

OTHER_DATABASE = "CREATE TABLE event (id INTEGER PRIMARY KEY); INSERT INTO event VALUES (1);"

SPOOL_OF_VERSION_1 = """
CREATE TABLE event (number INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL, due REAL NOT NULL);
CREATE INDEX event_due ON event (due, number);
CREATE TABLE held (id INTEGER PRIMARY KEY CHECK (id = 1), events INTEGER NOT NULL);
INSERT INTO held VALUES (1, 0);
CREATE TRIGGER event_added AFTER INSERT ON event BEGIN UPDATE held SET events = events + 1; END;
CREATE TRIGGER event_settled AFTER DELETE ON event BEGIN UPDATE held SET events = events - 1; END;
"""


def test_when_a_spool_is_reopened_its_events_are_there_and_expired_claims_are_void(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "new" / "spool", 3)
    add_events(spool, "taken long ago", "waiting", "taken a moment ago")
    spool.take(1, 1000, -1)
    [waiting, _] = spool.take(2, 1000, FOREVER)
    spool.release([waiting])
    spool.close()
    again = Spool(tmp_path / "new" / "spool", 3)
    assert again.add("no room") is None
    assert sorted(texts_of(again.take(10, 1000, FOREVER))) == ["taken long ago", "waiting"]
    again.close()


def test_when_the_clock_is_set_back_claims_are_void(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", 10)
    add_events(spool, "a")
    assert texts_of(spool.take(1, 1000, 2 * MAX_CLAIM_SECONDS)) == ["a"]
    assert texts_of(spool.take(1, 1000, FOREVER)) == ["a"]
    spool.close()


def test_in_a_forked_process_only_its_own_events_are_held(tmp_path: Path) -> None:
    parent, child = Spool(tmp_path / "spool", 10), Spool(tmp_path / "spool", 10, own_only=True)
    add_events(parent, "a")
    assert not child.holds_up_to(child.last_number())
    [own] = add_events(child, "b")
    mark = child.last_number()
    [later] = add_events(child, "c")
    assert child.holds_up_to(mark)
    assert not child.holds_up_to(own.number - 1)
    parent.settle([own])  # another process may settle it
    assert not child.holds_up_to(mark)
    assert child.holds_up_to(later.number)
    child.settle([later])
    for _ in range(50):
        child.settle(add_events(child, "d"))
    assert child._own is not None
    assert len(child._own) <= 20
    assert not child.holds_up_to(child.last_number())
    parent.close()
    child.close()


def test_in_a_forked_process_only_its_own_events_are_postponed(tmp_path: Path) -> None:
    parent, child = Spool(tmp_path / "spool", 10), Spool(tmp_path / "spool", 10, own_only=True)
    add_events(parent, "a")
    parent.park([as_parked(each, time.time() + 60) for each in parent.take(1, 1000, FOREVER)])
    assert not child.postpones_up_to(child.last_number())
    add_events(child, "b")
    child.park([as_parked(each, time.time() + 60) for each in child.take(1, 1000, FOREVER)])
    assert child.postpones_up_to(child.last_number())
    parent.drop([each.number for each in parent.parked()])
    assert not child.postpones_up_to(child.last_number())
    parent.close()
    child.close()


def test_a_spool_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    Spool(tmp_path / "spool", 10).close()
    assert (tmp_path / "spool").stat().st_mode & 0o077 == 0


def test_when_a_file_is_not_a_database_it_stays_unchanged(tmp_path: Path) -> None:
    file = tmp_path / "precious"
    file.write_text("not a database, but long enough to be looked at as if it were one" * 20)
    before = file.read_bytes()
    with pytest.raises(SpoolFailed, match="precious cannot be opened"):
        Spool(file, 10)
    assert file.read_bytes() == before
    with pytest.raises(SpoolFailed):
        Spool(tmp_path, 10)


@pytest.mark.parametrize("existing", [False, True])
def test_when_a_database_is_not_a_spool_it_stays_unchanged(tmp_path: Path, existing: bool) -> None:
    """Include a table with the same name as one of a spool's."""
    path = tmp_path / "orders.sqlite"
    other = sqlite3.connect(path)
    other.executescript(OTHER_DATABASE)
    other.close()
    before = path.read_bytes()
    with pytest.raises(SpoolFailed, match=r"orders\.sqlite is not a spool"):
        Spool(path, 10, existing=existing)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["orders.sqlite"]


def test_an_empty_file_becomes_a_spool_unless_an_existing_one_is_required(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    path.touch()
    with pytest.raises(SpoolFailed, match="is not a spool"):
        Spool(path, 10, existing=True)
    assert path.read_bytes() == b""
    Spool(path, 10).close()
    Spool(path, 10, existing=True).close()


def test_parked_events_survive_a_restart(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", 10)
    add_events(spool, "a", "b")
    parked = [as_parked(each, at) for each, at in zip(spool.take(2, 1000, FOREVER), (None, 0.0), strict=True)]
    spool.park(parked)
    spool.close()
    again = Spool(tmp_path / "spool", 10)
    assert again.parked() == parked
    assert texts_of(again.take(10, 1000, FOREVER)) == ["b"]
    again.close()


def test_a_spool_of_an_earlier_version_can_be_used(tmp_path: Path) -> None:
    """Open a spool without a table for parked events, while the process that made it goes on using it."""
    old = sqlite3.connect(tmp_path / "spool", isolation_level=None)
    old.executescript(SPOOL_OF_VERSION_1)
    old.execute("INSERT INTO event (body, due) VALUES ('old', 0)")
    spool = Spool(tmp_path / "spool", 10)
    old.execute("INSERT INTO event (body, due) VALUES ('newer', 0)")
    assert texts_of(spool.take(10, 1000, FOREVER)) == ["old", "newer"]
    assert len(spool) == 2
    spool.close()
    old.close()
