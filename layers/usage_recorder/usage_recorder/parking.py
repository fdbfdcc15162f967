"""Events that the service refused: kept until they are recorded after all, or dropped by a person. Pure.

A refused event is not forgotten: its cause can be fixed, and what was used has to be billed. Some causes pass with
time; events with such a cause are retried automatically.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from usage_recorder.answers import Problem
from usage_recorder.buffers import Entry, ParkedEntry
from usage_recorder.events import UsageEvent

FAR_IN_THE_PAST = timedelta(days=180)
"""The service says `out_of_range` of events ahead of its clock and of events more than a year old. An event this old is
one of the latter, however wrong the clock here is."""


@dataclass(frozen=True, slots=True)
class ParkedEvent:
    """An event that the service refused, why, and since when.

    `retry_at` is when it is next retried automatically; None where it waits for a person. `number` names it in its
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


def passes(problem: Problem, event: UsageEvent, now: datetime) -> bool:
    """Whether it may pass with time: no such subscription yet, or an event ahead of the service's clock."""
    if (problem.status, problem.code) == (404, "subscription_not_found"):
        return True
    return _is_about(problem, "occurredAt") and event.when > now - FAR_IN_THE_PAST


def to_retry(parked: ParkedEntry, now: datetime) -> str:
    """Return the JSON to send when a person has an event sent again at `now`.

    It is that of before. Only a report that the service refused as too old, because a clock here was never set or the
    spool lay somewhere for a year, is made now: as it was, it could never be recorded.
    """
    if not _is_about(Problem.from_json(parked.problem), "reportedAt"):
        return parked.text
    return replace(UsageEvent.from_json(parked.text), reported_at=now).to_json()


def _is_about(problem: Problem, field: str) -> bool:
    """Whether the time in `field` is all that the service refused."""
    found = [(each.get("field"), each.get("code")) for each in problem.errors]
    return found == [(field, "out_of_range")]


def parked(entry: Entry, problem: Problem, now: float, retry_at: float | None) -> ParkedEntry:
    """Return `entry` as it is to be parked. Times in seconds since 1970."""
    return ParkedEntry(
        number=entry.number,
        text=entry.text,
        since=now if entry.since is None else entry.since,
        problem=problem.to_json(),
        retry_at=retry_at,
        identity=identity_of(entry.text),
    )


def identity_of(text: str) -> str:
    """Return a digest that all reports of one event share, so that a job that is run again leaves one parked event."""
    same = replace(UsageEvent.from_json(text), reported_at=None).to_json()
    return sha256(same.encode()).hexdigest()
