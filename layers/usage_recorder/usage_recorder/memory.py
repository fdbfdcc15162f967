"""A buffer in memory: its events end with the process."""

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

from usage_recorder.buffers import MAX_CLAIM_SECONDS, POLL_SECONDS, Entry, ParkedEntry, fit_batch, interleave


class MemoryBuffer:
    """Up to `max_events` events, and up to `max_parked` parked ones, in memory."""

    def __init__(self, max_events: int, max_parked: int = 1_000) -> None:
        self._max_events = max_events
        self._max_parked = max_parked
        self._waiting: deque[Entry] = deque()
        self._taken: dict[int, Entry] = {}
        self._parked: dict[int, ParkedEntry] = {}
        self._last = 0

    @property
    def poll_seconds(self) -> float | None:
        """Nobody else adds events, so only the end of a pause has to be noticed."""
        times = [each.retry_at for each in self._parked.values() if each.retry_at is not None]
        return max(0.01, min(POLL_SECONDS, min(times) - time.time())) if times else None

    def add(self, text: str, claim_seconds: float = 0.0) -> Entry | None:
        if len(self._waiting) + len(self._taken) >= self._max_events:
            return None
        self._last += 1
        entry = Entry(self._last, text)
        if claim_seconds:
            self._taken[entry.number] = entry
        else:
            self._waiting.append(entry)
        return entry

    def take(self, max_events: int, max_bytes: int, seconds: float) -> list[Entry]:
        due = [Entry(each.number, each.text, each.since) for each in sorted(self._due(), key=_retry_at)]
        chosen = fit_batch(interleave(self._waiting, due, max_events), max_events, max_bytes)
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
                self._parked[same.number] = _refused_again(same, each)
            elif was_held:
                self._parked[each.number] = each
        surplus = max(0, len(self._parked) - self._max_parked)
        discarded = sorted(self._parked.values(), key=lambda each: each.retry_at is not None)[:surplus]
        for each in discarded:
            del self._parked[each.number]
        return discarded

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

    def waiting(self, limit: int) -> int:
        return min(limit, len(self._waiting) + len(self._due()))

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
        return [each for each in self.postponed() if not now < _retry_at(each) <= now + MAX_CLAIM_SECONDS]

    def _set_retry_at(self, number: int, moment: float) -> None:
        """Change the time of an automatic retry; an event that has none keeps waiting for a person."""
        each = self._parked.get(number)
        if each and each.retry_at is not None:
            self._parked[number] = replace(each, retry_at=moment)


def _retry_at(parked: ParkedEntry) -> float:
    assert parked.retry_at is not None
    return parked.retry_at


def _refused_again(old: ParkedEntry, new: ParkedEntry) -> ParkedEntry:
    """Merge two refusals of one event. One that waited for a person gets a full day of retries again."""
    since = old.since if old.retry_at is not None else new.since
    return replace(old, since=since, problem=new.problem, retry_at=new.retry_at)
