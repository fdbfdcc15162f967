"""The spool's file: an SQLite database with its schema, transactions, and errors as `SpoolFailed`."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tenacity import retry, retry_if_exception, stop_after_delay, wait_random

from usage_recorder.errors import SpoolFailed

BUSY_SECONDS = 10.0
# The trigger's count is exact and costs nothing to read, however many events wait. A parked event keeps its number,
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
"""Every spool has these tables, including those of earlier versions."""

_abandoned: list[sqlite3.Connection] = []


class SpoolFile:
    """A connection to a spool's file."""

    def __init__(self, path: Path, existing: bool) -> None:
        """`existing`: open an existing spool, do not create one.

        Raises:
            SpoolFailed: it cannot be opened, or is a database of something else, which stays unchanged.
        """
        self._path = path
        with _failing_as("opened", path):
            if not existing:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch(mode=0o600)  # usage is confidential
            self._database = _open(path, existing)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        with _failing_as("written", self._path), _immediate(self._database):
            yield self._database

    def rows(self, query: str, *values: float) -> list[Any]:
        with _failing_as("read", self._path):
            return self._database.execute(query, values).fetchall()

    def number(self, query: str, *values: float) -> int:
        """Return the only value of the only row."""
        with _failing_as("read", self._path):
            [number] = self._database.execute(query, values).fetchone()
            return int(number)

    def close(self) -> None:
        self._database.close()

    def abandon(self) -> None:
        """Keep the connection, unused: SQLite forbids a forked process even to close one that it inherited."""
        _abandoned.append(self._database)


def _is_busy(error: BaseException) -> bool:
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


# When two processes create a spool at the same time, turning the write-ahead log on does not wait for the other.
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
    """Split a script into statements: `executescript` would commit first."""
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


@contextmanager
def _immediate(database: sqlite3.Connection) -> Iterator[None]:
    """A transaction that locks the database from the start: a reader that becomes a writer could fail for that."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:  # some failures end it by themselves
            database.execute("ROLLBACK")
        raise


@contextmanager
def _failing_as(action: str, path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise SpoolFailed(f"the spool {path} cannot be {action}: {error}") from error
