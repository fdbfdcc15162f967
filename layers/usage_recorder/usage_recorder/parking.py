"""Parked events: those that the service refused, kept until they are recorded after all or dropped by a person. Pure.

A refused event is not deleted: its cause can be fixed, and the usage has to be billed. Some causes are temporary;
events with such a cause are retried automatically.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from usage_recorder.buffers import Entry, ParkedEntry
from usage_recorder.events import UsageEvent
from usage_recorder.outcomes import Problem

FAR_IN_THE_PAST = timedelta(days=180)
"""The service answers `out_of_range` for events ahead of its clock and for events more than a year old. An event this
old is one of the latter, however wrong this machine's clock is."""


@dataclass(frozen=True, slots=True)
class ParkedEvent:
    """An event that the service refused, with the reason and the time of the first refusal.

    `retry_at` is when it is next retried automatically; None if a person has to decide. `number` identifies it in its
    buffer.
    """

    number: int
    event: UsageEvent
    problem: Problem
    since: datetime
    retry_at: datetime | None

    @classmethod
    def of(cls, parked: ParkedEntry) -> "ParkedEvent":
        return cls(
            number=parked.number,
            event=UsageEvent.from_json(parked.text),
            problem=Problem.from_json(parked.problem),
            since=datetime.fromtimestamp(parked.since, UTC),
            retry_at=None if parked.retry_at is None else datetime.fromtimestamp(parked.retry_at, UTC),
        )


def is_temporary(problem: Problem, event: UsageEvent, now: datetime) -> bool:
    """Return whether the cause may go away by itself: no such subscription yet, or an event ahead of the clock."""
    if (problem.status, problem.code) == (404, "subscription_not_found"):
        return True
    return _is_about(problem, "occurredAt") and event.when > now - FAR_IN_THE_PAST


def text_to_retry(parked: ParkedEntry, now: datetime) -> str:
    """Return the JSON to send when a person has an event sent again at `now`.

    It is unchanged, with one exception: a `reportedAt` that the service refused as too old becomes `now`. The clock
    was wrong, or the spool was found again after a year; unchanged, the event could never be recorded.
    """
    if not _is_about(Problem.from_json(parked.problem), "reportedAt"):
        return parked.text
    return replace(UsageEvent.from_json(parked.text), reported_at=now).to_json()


def _is_about(problem: Problem, field: str) -> bool:
    """Return whether the service refused nothing but the time in `field`."""
    found = [(each.get("field"), each.get("code")) for each in problem.errors]
    return found == [(field, "out_of_range")]


def parked_entry(entry: Entry, problem: Problem, now: float, retry_at: float | None) -> ParkedEntry:
    """Return `entry` as a parked entry. Times are in seconds since 1970."""
    return ParkedEntry(
        number=entry.number,
        text=entry.text,
        since=now if entry.since is None else entry.since,
        problem=problem.to_json(),
        retry_at=retry_at,
        identity=identity_of(entry.text),
    )


def identity_of(text: str) -> str:
    """Return a digest that all reports of one event share, so that a job that is run again parks only one event."""
    same = replace(UsageEvent.from_json(text), reported_at=None).to_json()
    return sha256(same.encode()).hexdigest()
