"""What the service refused: kept until it is sent again with success, or dropped by a person. Pure.

Nothing that was accepted is forgotten because the service would not have it: the cause may be mended, and what was used
has to be billed. Some causes time itself mends; such events are sent again without a person.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from usage_recorder.answers import Problem
from usage_recorder.buffers import Entry, ParkedEntry
from usage_recorder.events import UsageEvent

FAR_IN_THE_PAST = timedelta(days=180)
"""Out of range means too early or more than a year old. Half of that is beyond every doubt about the clock."""

_TIMES = frozenset({"occurredAt", "reportedAt"})


@dataclass(frozen=True, slots=True)
class ParkedEvent:
    """An event that the service refused, why, and since when.

    `retry_at` is when it is sent again by itself; None where it waits for a person. `number` names it in its buffer.
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
    """Whether time may mend it: a subscription that is not there yet, or a time that our clock ran ahead with."""
    if (problem.status, problem.code) == (404, "subscription_not_found"):
        return True
    about_time = bool(problem.errors) and all(
        each.get("code") == "out_of_range" and each.get("field") in _TIMES for each in problem.errors
    )
    return about_time and event.when > now - FAR_IN_THE_PAST


def parked(entry: Entry, problem: Problem, now: float, retry_at: float | None) -> ParkedEntry:
    """`entry` as it is kept from now on, or goes on being kept. Times in seconds since 1970."""
    return ParkedEntry(
        number=entry.number,
        text=entry.text,
        since=now if entry.since is None else entry.since,
        problem=problem.to_json(),
        retry_at=retry_at,
        identity=identity_of(entry.text),
    )


def identity_of(text: str) -> str:
    """The same for all reports of one event: a job that is run again makes another one, which is not to be kept too."""
    same = replace(UsageEvent.from_json(text), reported_at=None).to_json()
    return sha256(same.encode()).hexdigest()
