"""Entries of buffers, and what tests do with them."""

import time
from collections.abc import Callable
from typing import Any

from usage_recorder.buffers import Buffer, Entry, ParkedEntry

MakeBuffer = Callable[[int], Buffer]
FOREVER = 600.0


def add_events(buffer: Buffer, *texts: str) -> list[Entry]:
    entries = [buffer.add(text) for text in texts]
    assert all(entries)
    return [entry for entry in entries if entry]


def texts_of(entries: list[Entry]) -> list[str]:
    return [entry.text for entry in entries]


def as_parked(entry: Entry, retry_at: float | None = None, **more: Any) -> ParkedEntry:
    """Return `entry` as it is parked, with its text for its identity."""
    values: dict[str, Any] = {"since": 100.0, "problem": "{}", "identity": entry.text}
    return ParkedEntry(number=entry.number, text=entry.text, retry_at=retry_at, **(values | more))


def unchanged(parked: ParkedEntry) -> str:
    return parked.text


def buffer_with_due_retries(make_buffer: MakeBuffer, retries: int, new: int) -> Buffer:
    """Return a buffer with `retries` due retries, each with the text `r`, and `new` new events with the text `n`."""
    buffer = make_buffer(retries + new)
    add_events(buffer, *"r" * retries)
    taken = buffer.take(retries, 10_000, FOREVER)
    buffer.park([as_parked(each, time.time() - 1, identity=str(each.number)) for each in taken])
    add_events(buffer, *"n" * new)
    return buffer
