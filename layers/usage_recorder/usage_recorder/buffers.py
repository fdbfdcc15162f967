"""The interface of a buffer: it holds events until they are settled. `memory.py` and `spool.py` implement it.

A buffer is not safe under threads by itself; `outbox.py` holds a lock around every call.
"""

import random
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

MAX_CLAIM_SECONDS = 3600.0
"""A claim or a pause that seems to last longer was made before the clock was set back; it is void."""

POLL_SECONDS = 0.5

RETRY_SHARE = 0.1
"""The part of a batch that due retries of parked events get, however many new events there are."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An event's JSON and its number; numbers grow. `since` is when the service first refused it, if it is parked."""

    number: int
    text: str
    since: float | None = None


@dataclass(frozen=True, slots=True)
class ParkedEntry:
    """An event that the service refused, with the problem as JSON. Times are in seconds since 1970.

    `retry_at` is when it is next retried automatically; None if a person has to decide. A buffer parks only one of the
    events with the same `identity`.
    """

    number: int
    text: str
    since: float
    problem: str
    retry_at: float | None
    identity: str


class Buffer(Protocol):
    """Events held until they are settled. An event that was taken is still held, but cannot be taken by others.

    Parked events are those that the service refused. They do not count towards the buffer's size.
    """

    @property
    def poll_seconds(self) -> float | None:
        """Seconds between checks for events that other processes added. None means never."""

    def add(self, text: str, claim_seconds: float = 0.0) -> Entry | None:
        """Hold another event, taken at once for `claim_seconds`; return None if there is no room."""

    def take(self, max_events: int, max_bytes: int, seconds: float) -> list[Entry]:
        """Take up to `max_events` of `max_bytes` in total for `seconds`, those that waited longest first.

        Parked events whose retry is due get a tenth of the places, and those that new events leave free.
        """

    def settle(self, entries: Iterable[Entry], identities: Collection[str] = ()) -> None:
        """Delete events that the service has, and the parked events with one of `identities`."""

    def release(self, entries: Iterable[Entry], pause: float = 0.0) -> None:
        """Let taken events be taken again, after those that wait. Settled and newly parked ones are left alone.

        Automatic retries are due again after `pause` seconds. They go ahead of new events, so without the pause an
        event that makes the service fail would be in every batch.
        """

    def park(self, refused: Sequence[ParkedEntry]) -> list[ParkedEntry]:
        """Set refused events aside; return those that had to be discarded for lack of room.

        Events without an automatic retry go first, the oldest before others: they were reported already, while
        retries may still succeed.
        """

    def has_parked(self) -> bool: ...

    def parked(self) -> list[ParkedEntry]:
        """Return all parked events, in the order in which they were parked."""

    def unpark(self, numbers: Iterable[int], text_of: Callable[[ParkedEntry], str]) -> int:
        """Let parked events be sent as if they were new, each with the JSON from `text_of`; return their count."""

    def drop(self, numbers: Iterable[int]) -> int:
        """Delete parked events; return their count."""

    def waiting(self, limit: int) -> int:
        """Count the events that can be taken, up to `limit`."""

    def last_number(self) -> int:
        """Return the newest event's number."""

    def holds_up_to(self, number: int) -> bool:
        """Return whether it holds an event with that number or a smaller one, not counting parked events."""

    def postpones_up_to(self, number: int) -> bool:
        """Return whether an event with that number or a smaller one is parked for an automatic retry."""

    def __len__(self) -> int:
        """The number of events held, including those that are parked for an automatic retry."""

    def unsettled(self) -> list[Entry]:
        """Return the held, not parked events that would be lost if the process ended now."""

    def postponed(self) -> list[ParkedEntry]:
        """Return the events parked for an automatic retry that would be lost if the process ended now."""

    def close(self) -> None: ...

    def abandon(self) -> None:
        """Let go of resources that belong to the process that this one was forked from."""


def interleave(new: Iterable[Entry], due: Sequence[Entry], max_events: int) -> Iterable[Entry]:
    """Order events for a batch of `max_events`: a tenth of due retries, then new events, then the other retries.

    If a batch is too small to split, choose at random, so that neither kind is starved.
    """
    share = int(max_events * RETRY_SHARE + random.random())  # noqa: S311
    return chain(due[:share], new, due[share:])


def fit_batch(entries: Iterable[Entry], max_events: int, max_bytes: int) -> list[Entry]:
    """Return as many of the first `entries` as fit into a batch; at least one, if there is one."""
    chosen: list[Entry] = []
    size = 0
    for entry in entries:
        size += len(entry.text) + 1  # a comma
        if len(chosen) == max_events or (chosen and size > max_bytes):
            break
        chosen.append(entry)
    return chosen
