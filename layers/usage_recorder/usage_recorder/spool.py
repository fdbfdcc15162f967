"""Unsent events in a file, an SQLite database: they outlive the process, and several processes may share it."""

import sqlite3
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tenacity import retry, retry_if_exception, stop_after_delay, wait_random

from usage_recorder.buffers import Entry, fitting
from usage_recorder.errors import SpoolFailed

BUSY_SECONDS = 10.0
LONGEST_CLAIM = 3600.0
"""Seconds. A claim that seems to last longer was made before the clock was set back; it is void."""

# The trigger's count is exact and costs nothing to read, however many events wait.
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
"""

_abandoned: list[sqlite3.Connection] = []


def _is_busy(error: BaseException) -> bool:
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


class Spool:
    """Events in a file. Whoever takes some claims them for a time, after which the claim of a dead process is void.

    Two processes may then send the same event; the service counts it once, by its id. `most` counts the events of all
    processes. An event is on disk before it is accepted.
    """

    poll_seconds = 0.5

    def __init__(self, path: Path, most: int, own_only: bool = False) -> None:
        """`own_only`: `holds_up_to` asks only for what was added here, not for what others left."""
        self._path = path
        self._most = most
        self._own: deque[int] | None = deque() if own_only else None
        with _failing_as("opened", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)  # who used what is nobody else's business
            self._database = _open(path)

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
            rows = database.execute(
                "SELECT number, body FROM event WHERE due <= ? OR due > ? ORDER BY due, number LIMIT ?",
                (now, now + LONGEST_CLAIM, most),
            )
            chosen = fitting((Entry(*row) for row in rows.fetchall()), most, most_bytes)
            self._set_due(database, chosen, now + seconds)
        return chosen

    def settle(self, entries: Iterable[Entry]) -> None:
        with self._transaction() as database:
            database.executemany("DELETE FROM event WHERE number = ?", [(entry.number,) for entry in entries])

    def release(self, entries: Iterable[Entry]) -> None:
        with self._transaction() as database:
            self._set_due(database, entries, time.time())

    def waiting(self, most: int) -> int:
        now = time.time()
        query = "SELECT count(*) FROM (SELECT 1 FROM event WHERE due <= ? OR due > ? LIMIT ?)"
        return self._number(query, now, now + LONGEST_CLAIM, most)

    def last_number(self) -> int:
        return self._number("SELECT coalesce(max(number), 0) FROM event")

    def holds_up_to(self, number: int) -> bool:
        if self._own is None:
            return bool(self._number("SELECT EXISTS (SELECT 1 FROM event WHERE number <= ?)", number))
        while self._own and not self._holds(self._own[0]):
            self._own.popleft()
        return bool(self._own) and self._own[0] <= number

    def __len__(self) -> int:
        return self._number("SELECT events FROM held")

    def unsettled(self) -> list[Entry]:
        """Nothing: the file outlives the process."""
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
        return bool(self._number("SELECT EXISTS (SELECT 1 FROM event WHERE number = ?)", number))

    def _number(self, query: str, *values: float) -> int:
        with _failing_as("read", self._path):
            [number] = self._database.execute(query, values).fetchone()
            return int(number)

    def _set_due(self, database: sqlite3.Connection, entries: Iterable[Entry], due: float) -> None:
        database.executemany("UPDATE event SET due = ? WHERE number = ?", [(due, entry.number) for entry in entries])

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
def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
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
