"""Where events wait until they are settled: in memory. `spool.py` is the same on disk.

A buffer is not safe under threads by itself; the recorder holds a lock around every call.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Entry:
    """An event's JSON and its number; numbers grow."""

    number: int
    text: str


class Buffer(Protocol):
    """Holds events until they are settled. What is taken counts as held, and nobody else can take it."""

    @property
    def poll_seconds(self) -> float | None:
        """How often to look for what other processes did; None where there are none."""

    def add(self, text: str, taken_for: float = 0.0) -> Entry | None:
        """Hold another event, at once taken for so many seconds; None if there is no room."""

    def take(self, most: int, most_bytes: int, seconds: float) -> list[Entry]:
        """Take up to `most` events of `most_bytes` together, those that waited longest first, for `seconds`."""

    def settle(self, entries: Iterable[Entry]) -> None:
        """Forget events."""

    def release(self, entries: Iterable[Entry]) -> None:
        """Let those that are not settled be taken again, after all that wait."""

    def waiting(self, most: int) -> int:
        """How many can be taken, counted up to `most`."""

    def last_number(self) -> int:
        """The newest number given."""

    def holds_up_to(self, number: int) -> bool:
        """Whether any event with that number or a smaller one is held."""

    def __len__(self) -> int: ...

    def unsettled(self) -> list[Entry]:
        """What would be lost if the process ended now."""

    def close(self) -> None: ...

    def abandon(self) -> None:
        """Let go of what belongs to the process that this one was forked from."""


class MemoryBuffer:
    """Events in memory."""

    poll_seconds = None

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: deque[Entry] = deque()
        self._taken: dict[int, Entry] = {}
        self._last = 0

    def add(self, text: str, taken_for: float = 0.0) -> Entry | None:
        if len(self) >= self._most:
            return None
        self._last += 1
        entry = Entry(self._last, text)
        if taken_for:
            self._taken[entry.number] = entry
        else:
            self._waiting.append(entry)
        return entry

    def take(self, most: int, most_bytes: int, seconds: float) -> list[Entry]:
        chosen = fitting(self._waiting, most, most_bytes)
        for entry in chosen:
            self._waiting.popleft()
            self._taken[entry.number] = entry
        return chosen

    def settle(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self._taken.pop(entry.number, None)

    def release(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if self._taken.pop(entry.number, None):
                self._waiting.append(entry)

    def waiting(self, most: int) -> int:
        return min(most, len(self._waiting))

    def last_number(self) -> int:
        return self._last

    def holds_up_to(self, number: int) -> bool:
        return any(entry.number <= number for entry in self.unsettled())

    def __len__(self) -> int:
        return len(self._waiting) + len(self._taken)

    def unsettled(self) -> list[Entry]:
        return [*self._taken.values(), *self._waiting]

    def close(self) -> None:
        self._waiting.clear()
        self._taken.clear()

    abandon = close


def fitting(entries: Iterable[Entry], most: int, most_bytes: int) -> list[Entry]:
    """The first of `entries`, as many as are allowed; at least one, if there is one."""
    chosen: list[Entry] = []
    size = 0
    for entry in entries:
        size += len(entry.text) + 1  # a comma
        if len(chosen) == most or (chosen and size > most_bytes):
            break
        chosen.append(entry)
    return chosen
