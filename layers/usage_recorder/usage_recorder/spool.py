"""Unsent events in a file, an SQLite database: they outlive the process, and several processes may share it."""

import sqlite3
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tenacity import retry, retry_if_exception, stop_after_delay, wait_random

from usage_recorder.buffers import LONGEST_CLAIM, POLL_SECONDS, Entry, ParkedEntry, fitting, shared
from usage_recorder.errors import SpoolFailed

BUSY_SECONDS = 10.0
# The trigger's count is exact and costs nothing to read, however many events wait. What is parked keeps its number,
# which AUTOINCREMENT gives to no other event.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS event (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    body TEXT NOT NULL,
    due REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS event_due ON event (due, number);
CREATE TABLE IF NOT EXISTS held (id INTEGER PRIMARY KEY CHECK (id = 1), events INTEGER NOT NULL);
INSERT OR IGNORE INTO held VALUES (1, 0);
CREATE TRIGGER IF NOT EXISTS event_added AFTER INSERT ON event BEGIN UPDATE held SET events = events + 1; END;
CREATE TRIGGER IF NOT EXISTS event_settled AFTER DELETE ON event BEGIN UPDATE held SET events = events - 1; END;
CREATE TABLE IF NOT EXISTS parked (
    number INTEGER PRIMARY KEY,
    body TEXT NOT NULL,
    since REAL NOT NULL,
    problem TEXT NOT NULL,
    retry_at REAL,
    identity TEXT NOT NULL UNIQUE
);
CREATE INDEX IF NOT EXISTS parked_retry_at ON parked (retry_at, number);
"""

_TABLES = {"event", "held"}
"""Every spool has these, also one that an earlier version made."""

_TAKE_NEW = "SELECT number, body, NULL FROM event WHERE due <= ? OR due > ? ORDER BY due, number LIMIT ?"
_TAKE_DUE = (
    "SELECT number, body, since FROM parked WHERE retry_at <= ? OR retry_at > ? ORDER BY retry_at, number LIMIT ?"
)
_COUNT = (
    "SELECT count(*) FROM (SELECT 1 FROM event WHERE due <= ? OR due > ? LIMIT ?)",
    "SELECT count(*) FROM (SELECT 1 FROM parked WHERE retry_at <= ? OR retry_at > ? LIMIT ?)",
)
_PARKED = "SELECT number, body, since, problem, retry_at, identity FROM parked"
_HOLDS = "SELECT EXISTS (SELECT 1 FROM event WHERE number = ?)"
_POSTPONES = "SELECT EXISTS (SELECT 1 FROM parked WHERE retry_at IS NOT NULL AND number = ?)"

_abandoned: list[sqlite3.Connection] = []


def _is_busy(error: BaseException) -> bool:
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


class Spool:
    """Events in a file. Whoever takes some claims them for a time, after which the claim of a dead process is void.

    Two processes may then send the same event; the service counts it once, by its id. `most` counts the events of all
    processes. An event is on disk before it is accepted.
    """

    poll_seconds = POLL_SECONDS

    def __init__(self, path: Path, most: int, own_only: bool = False, *, existing: bool = False) -> None:
        """`own_only`: `holds_up_to` asks only for what was added here, not for what others left.

        `existing`: open a spool, and make none.

        Raises:
            SpoolFailed: it cannot be opened, or is the database of something else, which is left as it is.
        """
        self._path = path
        self._most = most
        self._own: deque[int] | None = deque() if own_only else None
        self._own_parked: set[int] = set()
        with _failing_as("opened", path):
            if not existing:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch(mode=0o600)  # who used what is nobody else's business
            self._database = _open(path, existing)

    def add(self, text: str, taken_for: float = 0.0) -> Entry | None:
        due = time.time() + taken_for if taken_for else 0.0
        with self._transaction() as database:
            added = database.execute(
                "INSERT INTO event (body, due) SELECT ?, ? FROM held WHERE events < ?", (text, due, self._most)
            )
        if added.rowcount != 1 or not added.lastrowid:
            return None
        self._remember(added.lastrowid)
        return Entry(added.lastrowid, text)

    def take(self, most: int, most_bytes: int, seconds: float) -> list[Entry]:
        now = time.time()
        with self._transaction() as database:
            new, due = (
                [Entry(*row) for row in database.execute(query, (now, now + LONGEST_CLAIM, most))]
                for query in (_TAKE_NEW, _TAKE_DUE)
            )
            chosen = fitting(shared(new, due, most), most, most_bytes)
            self._set_due(database, chosen, now + seconds, now + seconds)
        return chosen

    def settle(self, entries: Iterable[Entry], identities: Collection[str] = ()) -> None:
        with self._transaction() as database:
            numbers = [(entry.number,) for entry in entries]
            database.executemany("DELETE FROM event WHERE number = ?", numbers)
            database.executemany("DELETE FROM parked WHERE number = ?", numbers)
            database.executemany("DELETE FROM parked WHERE identity = ?", [(each,) for each in identities])

    def release(self, entries: Iterable[Entry], pause: float = 0.0) -> None:
        now = time.time()
        with self._transaction() as database:
            self._set_due(database, entries, now, now + pause)

    def park(self, refused: Sequence[ParkedEntry]) -> list[ParkedEntry]:
        """There is always room: billed late is better than never billed."""
        with self._transaction() as database:
            for each in refused:
                was_held = database.execute("DELETE FROM event WHERE number = ?", (each.number,)).rowcount
                row = (each.problem, each.since, each.retry_at, each.identity)
                # One that waited for a person gets a full day of retries again.
                same = database.execute(
                    "UPDATE parked SET problem = ?, since = CASE WHEN retry_at IS NULL THEN ? ELSE since END,"
                    " retry_at = ? WHERE identity = ?",
                    row,
                ).rowcount
                if was_held and not same:
                    database.execute(
                        "INSERT INTO parked (problem, since, retry_at, identity, number, body)"
                        " VALUES (?, ?, ?, ?, ?, ?)",
                        (*row, each.number, each.text),
                    )
        if self._own is not None:
            self._own_parked |= {each.number for each in refused if each.retry_at is not None}
        return []

    def has_parked(self) -> bool:
        return bool(self._number("SELECT EXISTS (SELECT 1 FROM parked)"))

    def parked(self) -> list[ParkedEntry]:
        with _failing_as("read", self._path):
            return [ParkedEntry(*row) for row in self._database.execute(f"{_PARKED} ORDER BY number")]

    def unpark(self, numbers: Iterable[int], text_of: Callable[[ParkedEntry], str]) -> int:
        added = []
        with self._transaction() as database:
            for number in numbers:
                for row in database.execute(f"{_PARKED} WHERE number = ?", (number,)).fetchall():
                    text = text_of(ParkedEntry(*row))
                    added.append(database.execute("INSERT INTO event (body, due) VALUES (?, 0.0)", (text,)).lastrowid)
                    database.execute("DELETE FROM parked WHERE number = ?", (number,))
        for each in added:
            assert each is not None  # it is after an INSERT
            self._remember(each)
        return len(added)

    def drop(self, numbers: Iterable[int]) -> int:
        with self._transaction() as database:
            delete = "DELETE FROM parked WHERE number = ?"
            return sum(database.execute(delete, (number,)).rowcount for number in numbers)

    def waiting(self, most: int) -> int:
        now = time.time()
        found = 0
        for query in _COUNT:
            found += self._number(query, now, now + LONGEST_CLAIM, most - found)
        return found

    def last_number(self) -> int:
        return self._number("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'event'")

    def holds_up_to(self, number: int) -> bool:
        if self._own is None:
            return bool(self._number("SELECT EXISTS (SELECT 1 FROM event WHERE number <= ?)", number))
        while self._own and not self._holds(self._own[0]):
            self._own.popleft()
        return bool(self._own) and self._own[0] <= number

    def postpones_up_to(self, number: int) -> bool:
        if self._own is None:
            query = "SELECT EXISTS (SELECT 1 FROM parked WHERE retry_at IS NOT NULL AND number <= ?)"
            return bool(self._number(query, number))
        self._own_parked = {own for own in self._own_parked if self._number(_POSTPONES, own)}
        return any(own <= number for own in self._own_parked)

    def __len__(self) -> int:
        query = "SELECT events + (SELECT count(*) FROM parked WHERE retry_at IS NOT NULL) FROM held"
        return self._number(query)

    def unsettled(self) -> list[Entry]:
        """Nothing: the file outlives the process."""
        return []

    def postponed(self) -> list[ParkedEntry]:
        """Nothing either."""
        return []

    def close(self) -> None:
        self._database.close()

    def abandon(self) -> None:
        """SQLite forbids a forked process even to close a connection that it inherited."""
        _abandoned.append(self._database)

    def _remember(self, number: int) -> None:
        """No more than `most` can be held; those beyond are looked for now and then, and forgotten if they are gone."""
        if self._own is not None:
            self._own.append(number)
            if len(self._own) > 2 * self._most:
                self._own = deque(own for own in self._own if self._holds(own))

    def _holds(self, number: int) -> bool:
        return bool(self._number(_HOLDS, number))

    def _number(self, query: str, *values: float) -> int:
        with _failing_as("read", self._path):
            [number] = self._database.execute(query, values).fetchone()
            return int(number)

    def _set_due(self, database: sqlite3.Connection, entries: Iterable[Entry], due: float, retry_at: float) -> None:
        """What is parked and waits for a person stays as it is: another process may have given it up meanwhile."""
        numbers = [entry.number for entry in entries]
        database.executemany("UPDATE event SET due = ? WHERE number = ?", [(due, number) for number in numbers])
        update = "UPDATE parked SET retry_at = ? WHERE number = ? AND retry_at IS NOT NULL"
        database.executemany(update, [(retry_at, number) for number in numbers])

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with _failing_as("written", self._path), _immediate(self._database):
            yield self._database


# Two processes that create a spool at the same time: turning the write-ahead log on does not wait for the other.
@retry(
    retry=retry_if_exception(_is_busy),
    stop=stop_after_delay(BUSY_SECONDS),
    wait=wait_random(0, 0.05),
    reraise=True,
)
def _open(path: Path, existing: bool) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if (tables or existing) and not tables >= _TABLES:
            raise SpoolFailed(f"{path} is not a spool")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")  # an accepted event survives a loss of power, too
        with _immediate(database):
            for statement in _statements(_SCHEMA):
                database.execute(statement)
    except BaseException:
        database.close()
        raise
    return database


def _statements(script: str) -> Iterator[str]:
    """One at a time: `executescript` would commit first."""
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


@contextmanager
def _immediate(database: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, and alone from the start: a reader that becomes a writer could find itself too late."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:  # some failures end it by themselves
            database.execute("ROLLBACK")
        raise


@contextmanager
def _failing_as(what: str, path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise SpoolFailed(f"the spool {path} cannot be {what}: {error}") from error
