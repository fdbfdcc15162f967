"""A buffer in a file: its events outlive the process, and several processes may share it."""

import sqlite3
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

from usage_recorder.buffers import MAX_CLAIM_SECONDS, POLL_SECONDS, Entry, ParkedEntry, fit_batch, interleave
from usage_recorder.spool_file import SpoolFile

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


class Spool:
    """Events in a file. A process claims the events that it takes for a time; then another process may take them.

    So after a crash two processes may send the same event; the service counts it once, by its id. `max_events` counts
    the events of all processes. An event is on disk before it is accepted.
    """

    poll_seconds = POLL_SECONDS

    def __init__(self, path: Path, max_events: int, own_only: bool = False, *, existing: bool = False) -> None:
        """`own_only`: `holds_up_to` and `postpones_up_to` ignore events that other processes added.

        `existing`: open an existing spool, do not create one.

        Raises:
            SpoolFailed: it cannot be opened, or is a database of something else, which stays unchanged.
        """
        self._max_events = max_events
        self._own: deque[int] | None = deque() if own_only else None
        self._own_parked: set[int] = set()
        self._file = SpoolFile(path, existing)

    def add(self, text: str, claim_seconds: float = 0.0) -> Entry | None:
        due = time.time() + claim_seconds if claim_seconds else 0.0
        with self._file.transaction() as database:
            added = database.execute(
                "INSERT INTO event (body, due) SELECT ?, ? FROM held WHERE events < ?", (text, due, self._max_events)
            )
        if added.rowcount != 1 or not added.lastrowid:
            return None
        self._remember(added.lastrowid)
        return Entry(added.lastrowid, text)

    def take(self, max_events: int, max_bytes: int, seconds: float) -> list[Entry]:
        now = time.time()
        with self._file.transaction() as database:
            new, due = (
                [Entry(*row) for row in database.execute(query, (now, now + MAX_CLAIM_SECONDS, max_events))]
                for query in (_TAKE_NEW, _TAKE_DUE)
            )
            chosen = fit_batch(interleave(new, due, max_events), max_events, max_bytes)
            self._set_due(database, chosen, now + seconds, now + seconds)
        return chosen

    def settle(self, entries: Iterable[Entry], identities: Collection[str] = ()) -> None:
        with self._file.transaction() as database:
            numbers = [(entry.number,) for entry in entries]
            database.executemany("DELETE FROM event WHERE number = ?", numbers)
            database.executemany("DELETE FROM parked WHERE number = ?", numbers)
            database.executemany("DELETE FROM parked WHERE identity = ?", [(each,) for each in identities])

    def release(self, entries: Iterable[Entry], pause: float = 0.0) -> None:
        now = time.time()
        with self._file.transaction() as database:
            self._set_due(database, entries, now, now + pause)

    def park(self, refused: Sequence[ParkedEntry]) -> list[ParkedEntry]:
        """Discard nothing: there is always room."""
        with self._file.transaction() as database:
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
        return bool(self._file.number("SELECT EXISTS (SELECT 1 FROM parked)"))

    def parked(self) -> list[ParkedEntry]:
        return [ParkedEntry(*row) for row in self._file.rows(f"{_PARKED} ORDER BY number")]

    def unpark(self, numbers: Iterable[int], text_of: Callable[[ParkedEntry], str]) -> int:
        added = []
        with self._file.transaction() as database:
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
        with self._file.transaction() as database:
            delete = "DELETE FROM parked WHERE number = ?"
            return sum(database.execute(delete, (number,)).rowcount for number in numbers)

    def waiting(self, limit: int) -> int:
        now = time.time()
        found = 0
        for query in _COUNT:
            found += self._file.number(query, now, now + MAX_CLAIM_SECONDS, limit - found)
        return found

    def last_number(self) -> int:
        return self._file.number("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'event'")

    def holds_up_to(self, number: int) -> bool:
        if self._own is None:
            return bool(self._file.number("SELECT EXISTS (SELECT 1 FROM event WHERE number <= ?)", number))
        while self._own and not self._holds(self._own[0]):
            self._own.popleft()
        return bool(self._own) and self._own[0] <= number

    def postpones_up_to(self, number: int) -> bool:
        if self._own is None:
            query = "SELECT EXISTS (SELECT 1 FROM parked WHERE retry_at IS NOT NULL AND number <= ?)"
            return bool(self._file.number(query, number))
        self._own_parked = {own for own in self._own_parked if self._file.number(_POSTPONES, own)}
        return any(own <= number for own in self._own_parked)

    def __len__(self) -> int:
        query = "SELECT events + (SELECT count(*) FROM parked WHERE retry_at IS NOT NULL) FROM held"
        return self._file.number(query)

    def unsettled(self) -> list[Entry]:
        """Return nothing: the file outlives the process."""
        return []

    def postponed(self) -> list[ParkedEntry]:
        """Return nothing: the file outlives the process."""
        return []

    def close(self) -> None:
        self._file.close()

    def abandon(self) -> None:
        self._file.abandon()

    def _remember(self, number: int) -> None:
        """Remember an event as one of this process; forget those that are gone when there are more than can be held."""
        if self._own is not None:
            self._own.append(number)
            if len(self._own) > 2 * self._max_events:
                self._own = deque(own for own in self._own if self._holds(own))

    def _holds(self, number: int) -> bool:
        return bool(self._file.number(_HOLDS, number))

    def _set_due(self, database: sqlite3.Connection, entries: Iterable[Entry], due: float, retry_at: float) -> None:
        """Leave parked events without an automatic retry alone: another process may have rejected them meanwhile."""
        numbers = [entry.number for entry in entries]
        database.executemany("UPDATE event SET due = ? WHERE number = ?", [(due, number) for number in numbers])
        update = "UPDATE parked SET retry_at = ? WHERE number = ? AND retry_at IS NOT NULL"
        database.executemany(update, [(retry_at, number) for number in numbers])
