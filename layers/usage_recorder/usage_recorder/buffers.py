"""Where events wait until they are settled: in memory. `spool.py` is the same on disk.

A buffer is not safe under threads by itself; the recorder holds a lock around every call.
"""

import random
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Protocol

LONGEST_CLAIM = 3600.0
"""Seconds. A claim or a pause that seems to last longer was made before the clock was set back; it is void."""

POLL_SECONDS = 0.5

RETRY_SHARE = 0.1
"""The part of a batch that parked events whose retry is due get ahead of new events, however busy the service is."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An event's JSON and its number; numbers grow. `since` is when the service first refused it, if it is parked."""

    number: int
    text: str
    since: float | None = None


@dataclass(frozen=True, slots=True)
class ParkedEntry:
    """An event that the service refused, with the problem as JSON. Times in seconds since 1970.

    `retry_at` is when it is next retried automatically; None where it waits for a person. Of events with the same
    `identity` one is parked.
    """

    number: int
    text: str
    since: float
    problem: str
    retry_at: float | None
    identity: str


class Buffer(Protocol):
    """Holds events until they are settled. What is taken counts as held, and nobody else can take it.

    Parked is what the service refused. It takes up none of the room of the others.
    """

    @property
    def poll_seconds(self) -> float | None:
        """How often to look whether there is something new to send without a word from this process; None: never."""

    def add(self, text: str, taken_for: float = 0.0) -> Entry | None:
        """Hold another event, at once taken for so many seconds; None if there is no room."""

    def take(self, most: int, most_bytes: int, seconds: float) -> list[Entry]:
        """Take up to `most` events of `most_bytes` together, those that waited longest first, for `seconds`.

        Parked ones whose retry is due get a tenth of the places, and what new events leave free.
        """

    def settle(self, entries: Iterable[Entry], identities: Collection[str] = ()) -> None:
        """Forget events, and those that are parked with one of `identities`: the service has them now."""

    def release(self, entries: Iterable[Entry], pause: float = 0.0) -> None:
        """Let those that are not settled be taken again, after all that wait; not those that were parked just now.

        Automatic retries are due again after `pause` seconds: they go ahead of new events, so one for which the
        service fails would otherwise be in every batch.
        """

    def park(self, refused: Sequence[ParkedEntry]) -> list[ParkedEntry]:
        """Keep refused events aside; return those that had to be given up for lack of room.

        Those that wait for a person go first, the oldest before others: they were reported, and retries may succeed.
        """

    def has_parked(self) -> bool: ...

    def parked(self) -> list[ParkedEntry]:
        """All parked events, in the order in which they were parked."""

    def unpark(self, numbers: Iterable[int], text_of: Callable[[ParkedEntry], str]) -> int:
        """Let parked events be sent as if they were new, each as `text_of` it; return how many there were."""

    def drop(self, numbers: Iterable[int]) -> int:
        """Forget parked events; return how many there were."""

    def waiting(self, most: int) -> int:
        """How many can be taken, counted up to `most`."""

    def last_number(self) -> int:
        """The newest number given."""

    def holds_up_to(self, number: int) -> bool:
        """Whether any event with that number or a smaller one is held, parked ones not counted."""

    def postpones_up_to(self, number: int) -> bool:
        """Whether any event with that number or a smaller one is parked and will be retried automatically."""

    def __len__(self) -> int:
        """How many events are held, with those that are parked and will be retried automatically."""

    def unsettled(self) -> list[Entry]:
        """What is held, not parked, and would be lost if the process ended now."""

    def postponed(self) -> list[ParkedEntry]:
        """What is parked for an automatic retry and would be lost if the process ended now."""

    def close(self) -> None: ...

    def abandon(self) -> None:
        """Let go of what belongs to the process that this one was forked from."""


class MemoryBuffer:
    """Events in memory."""

    def __init__(self, most: int, most_parked: int = 1_000) -> None:
        self._most = most
        self._most_parked = most_parked
        self._waiting: deque[Entry] = deque()
        self._taken: dict[int, Entry] = {}
        self._parked: dict[int, ParkedEntry] = {}
        self._last = 0

    @property
    def poll_seconds(self) -> float | None:
        """Nobody else adds anything, but pauses end."""
        times = [each.retry_at for each in self._parked.values() if each.retry_at is not None]
        return max(0.01, min(POLL_SECONDS, min(times) - time.time())) if times else None

    def add(self, text: str, taken_for: float = 0.0) -> Entry | None:
        if len(self._waiting) + len(self._taken) >= self._most:
            return None
        self._last += 1
        entry = Entry(self._last, text)
        if taken_for:
            self._taken[entry.number] = entry
        else:
            self._waiting.append(entry)
        return entry

    def take(self, most: int, most_bytes: int, seconds: float) -> list[Entry]:
        due = [Entry(each.number, each.text, each.since) for each in sorted(self._due(), key=_retry_at)]
        chosen = fitting(shared(self._waiting, due, most), most, most_bytes)
        for entry in chosen:
            if entry.since is None:
                self._waiting.popleft()
                self._taken[entry.number] = entry
            else:
                self._set_retry_at(entry.number, time.time() + seconds)
        return chosen

    def settle(self, entries: Iterable[Entry], identities: Collection[str] = ()) -> None:
        for entry in entries:
            self._taken.pop(entry.number, None)
            self._parked.pop(entry.number, None)
        self.drop([each.number for each in self._parked.values() if each.identity in identities])

    def release(self, entries: Iterable[Entry], pause: float = 0.0) -> None:
        for entry in entries:
            if self._taken.pop(entry.number, None):
                self._waiting.append(entry)
            elif entry.since is not None:
                self._set_retry_at(entry.number, time.time() + pause)

    def park(self, refused: Sequence[ParkedEntry]) -> list[ParkedEntry]:
        for each in refused:
            was_held = self._taken.pop(each.number, None)
            same = next((old for old in self._parked.values() if old.identity == each.identity), None)
            if same:
                self._parked[same.number] = _again(same, each)
            elif was_held:
                self._parked[each.number] = each
        surplus = max(0, len(self._parked) - self._most_parked)
        given_up = sorted(self._parked.values(), key=lambda each: each.retry_at is not None)[:surplus]
        for each in given_up:
            del self._parked[each.number]
        return given_up

    def has_parked(self) -> bool:
        return bool(self._parked)

    def parked(self) -> list[ParkedEntry]:
        return list(self._parked.values())

    def unpark(self, numbers: Iterable[int], text_of: Callable[[ParkedEntry], str]) -> int:
        found = [parked for number in numbers if (parked := self._parked.pop(number, None))]
        for each in found:
            self._last += 1
            self._waiting.append(Entry(self._last, text_of(each)))
        return len(found)

    def drop(self, numbers: Iterable[int]) -> int:
        return len([number for number in numbers if self._parked.pop(number, None)])

    def waiting(self, most: int) -> int:
        return min(most, len(self._waiting) + len(self._due()))

    def last_number(self) -> int:
        return self._last

    def holds_up_to(self, number: int) -> bool:
        return any(entry.number <= number for entry in self.unsettled())

    def postpones_up_to(self, number: int) -> bool:
        return any(each.number <= number for each in self.postponed())

    def __len__(self) -> int:
        return len(self._waiting) + len(self._taken) + len(self.postponed())

    def unsettled(self) -> list[Entry]:
        return [*self._taken.values(), *self._waiting]

    def postponed(self) -> list[ParkedEntry]:
        return [each for each in self._parked.values() if each.retry_at is not None]

    def close(self) -> None:
        self._waiting.clear()
        self._taken.clear()
        self._parked.clear()

    abandon = close

    def _due(self) -> list[ParkedEntry]:
        now = time.time()
        return [each for each in self.postponed() if not now < _retry_at(each) <= now + LONGEST_CLAIM]

    def _set_retry_at(self, number: int, moment: float) -> None:
        """An event that waits for a person goes on waiting."""
        each = self._parked.get(number)
        if each and each.retry_at is not None:
            self._parked[number] = replace(each, retry_at=moment)


def _retry_at(parked: ParkedEntry) -> float:
    assert parked.retry_at is not None
    return parked.retry_at


def _again(old: ParkedEntry, new: ParkedEntry) -> ParkedEntry:
    """Merge two refusals of one event. One that waited for a person gets a full day of retries again."""
    since = old.since if old.retry_at is not None else new.since
    return replace(old, since=since, problem=new.problem, retry_at=new.retry_at)


def shared(new: Iterable[Entry], due: Sequence[Entry], most: int) -> Iterable[Entry]:
    """The order in which up to `most` events are sent: a tenth of them due retries, then new events, then the rest.

    In batches too small to divide, chance decides, so that neither kind waits for ever.
    """
    share = int(most * RETRY_SHARE + random.random())  # noqa: S311
    return chain(due[:share], new, due[share:])


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
