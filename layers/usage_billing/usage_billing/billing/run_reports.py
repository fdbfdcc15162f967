"""The report of a billing run, composed of the attempts of all its segments. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from usage_billing.billing.model import FIRST_SEGMENT, MAX_REPORTED, Failure, RunTotals, UnratedLedger
from usage_billing.kernel.numbers import EXACT

STALLED_AFTER = timedelta(hours=5)
"""Within this time the queue delivers a message three times, and then moves it to the dead-letter queue."""


class RunStatus(StrEnum):
    RUNNING = "running"
    COMPLETED = "completed"
    STALLED = "stalled"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One invocation that works on a run segment, and its totals so far. A higher `revision` is more recent."""

    run_id: str
    segment_id: str
    attempt_id: str
    subscription_id: str | None
    started_at: datetime
    updated_at: datetime
    revision: int
    ended: bool
    totals: RunTotals


@dataclass(frozen=True, slots=True)
class RunReport:
    """The results of a run so far.

    `settled`, `items` and `amounts` are sums over all attempts. `failures` and `unrated` come from the last attempt of
    each segment, because it tried all ledgers that were left. `interruptions` counts the attempts that were cut off.
    What they settled after they last saved their progress is on the invoices, but not counted here.
    """

    run_id: str
    status: RunStatus
    subscription_id: str | None
    started_at: datetime
    updated_at: datetime
    settled: int
    items: int
    failures: int
    unrated: int
    amounts: dict[str, Decimal]
    segments_completed: int
    segments_under_way: int
    interruptions: int
    failed: Sequence[Failure]
    unrated_ledgers: Sequence[UnratedLedger]

    @property
    def is_clean(self) -> bool:
        return self.status == RunStatus.COMPLETED and not self.failures


def compose(attempts: Sequence[Attempt], now: datetime) -> RunReport:
    """Compose the report of a run from its attempts. There must be at least one."""
    segments: dict[str, list[Attempt]] = {}
    for attempt in sorted(attempts, key=lambda each: (each.started_at, each.attempt_id)):
        segments.setdefault(attempt.segment_id, []).append(attempt)
    # Always expect the first segment: without its attempt, the other segments are unknown.
    known = {FIRST_SEGMENT} | segments.keys() | {name for attempt in attempts for name in attempt.totals.handed_over}
    completed = {
        name for name, segment_attempts in segments.items() if any(attempt.ended for attempt in segment_attempts)
    }
    latest = [_latest(segment_attempts) for segment_attempts in segments.values()]
    updated_at = max(attempt.updated_at for attempt in attempts)
    status = RunStatus.COMPLETED
    if known - completed:
        status = RunStatus.STALLED if now - updated_at > STALLED_AFTER else RunStatus.RUNNING
    current = {attempt.attempt_id for attempt in latest}
    interruptions = [
        attempt
        for attempt in attempts
        if not attempt.ended and (status == RunStatus.STALLED or attempt.attempt_id not in current)
    ]
    return RunReport(
        run_id=attempts[0].run_id,
        status=status,
        subscription_id=attempts[0].subscription_id,
        started_at=min(attempt.started_at for attempt in attempts),
        updated_at=updated_at,
        settled=sum(attempt.totals.settled for attempt in attempts),
        items=sum(attempt.totals.items for attempt in attempts),
        failures=sum(attempt.totals.failures for attempt in latest),
        unrated=sum(attempt.totals.unrated for attempt in latest),
        amounts=_sum(attempt.totals.amounts for attempt in attempts),
        segments_completed=len(completed),
        segments_under_way=len(known - completed),
        interruptions=len(interruptions),
        failed=[each for attempt in latest for each in attempt.totals.failed][:MAX_REPORTED],
        unrated_ledgers=[each for attempt in latest for each in attempt.totals.unrated_ledgers][:MAX_REPORTED],
    )


def _latest(attempts: Sequence[Attempt]) -> Attempt:
    """Return the last attempt that ended, or the last attempt if none did."""
    return next((attempt for attempt in reversed(attempts) if attempt.ended), attempts[-1])


def _sum(amounts: Iterable[dict[str, Decimal]]) -> dict[str, Decimal]:
    total: dict[str, Decimal] = {}
    for each in amounts:
        for currency, amount in each.items():
            total[currency] = EXACT.add(total.get(currency, Decimal(0)), amount)
    return total


def snapshot(totals: RunTotals) -> RunTotals:
    """Return a copy of totals that does not change when `totals` does."""
    return replace(
        totals,
        handed_over=list(totals.handed_over),
        amounts=dict(totals.amounts),
        failed=list(totals.failed),
        unrated_ledgers=list(totals.unrated_ledgers),
    )
