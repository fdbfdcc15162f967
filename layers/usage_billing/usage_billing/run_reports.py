"""What billing runs did: each invocation keeps a row of its own, and a run's report is composed of them.

No row is ever added to: an invocation writes its own as a whole, so writing it again changes nothing. A ledger is
settled by one transaction, so by one invocation, and the counts of a run are the sums of its rows. An invocation that
was cut off leaves what it had saved last. Which segments there are is said by the invocations that handed them over.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from pynamodb.exceptions import PutError

from usage_billing.billing import FIRST_SEGMENT, MAX_NAMED, Failure, RunTotals, UnratedLedger
from usage_billing.kernel.errors import RunNotFound
from usage_billing.kernel.exact_json import dumps, loads
from usage_billing.kernel.instants import instant, iso
from usage_billing.kernel.numbers import EXACT, as_text
from usage_billing.platform.tables import BillingRunTable, error_code
from usage_billing.usage.ledger import LedgerKey

KEPT = timedelta(days=400)

STALLED_AFTER = timedelta(hours=5)
"""A message of the queue is delivered three times in that time, and is a dead letter then."""

_LIST = "runs"
"""The partition that lists the runs by their start. No run has this id."""


class RunStatus(StrEnum):
    RUNNING = "running"
    COMPLETED = "completed"
    STALLED = "stalled"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One invocation that works on a run segment, and what it has done so far. A later `revision` knows more."""

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
    """What a run has done so far.

    `settled`, `items` and `amounts` sum over all attempts; `failures` and `unrated` are those of each segment's last
    one, because it looked at all that was left. The `interruptions` are attempts that were cut off: what they settled
    after they last saved their progress is on the invoices, but not counted here.
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


def report(run_id: str, now: datetime) -> RunReport:
    """Return what a run has done so far, read consistently.

    Raises:
        RunNotFound: there is none of that id, or it is older than 400 days.
    """
    attempts = _attempts(run_id) if run_id != _LIST else []
    if not attempts:
        raise RunNotFound(f"There is no billing run {run_id}.")
    return composed(attempts, now)


def composed(attempts: Sequence[Attempt], now: datetime) -> RunReport:
    """Return the report of a run's attempts, of which there is at least one."""
    segments: dict[str, list[Attempt]] = {}
    for attempt in sorted(attempts, key=lambda each: (each.started_at, each.attempt_id)):
        segments.setdefault(attempt.segment_id, []).append(attempt)
    # Without the row of the first segment nobody knows what else there is.
    known = {FIRST_SEGMENT} | segments.keys() | {name for attempt in attempts for name in attempt.totals.handed_over}
    completed = {name for name, tried in segments.items() if any(attempt.ended for attempt in tried)}
    latest = [_latest(tried) for tried in segments.values()]
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
        failed=[each for attempt in latest for each in attempt.totals.failed][:MAX_NAMED],
        unrated_ledgers=[each for attempt in latest for each in attempt.totals.unrated_ledgers][:MAX_NAMED],
    )


def _latest(tried: Sequence[Attempt]) -> Attempt:
    """Return the last attempt that ended, or where none did the last one."""
    return next((attempt for attempt in reversed(tried) if attempt.ended), tried[-1])


def _sum(amounts: Iterable[dict[str, Decimal]]) -> dict[str, Decimal]:
    total: dict[str, Decimal] = {}
    for each in amounts:
        for currency, amount in each.items():
            total[currency] = EXACT.add(total.get(currency, Decimal(0)), amount)
    return total


def save(attempt: Attempt) -> None:
    """Write what an attempt has done so far, unless what is there knows more already."""
    totals, table = attempt.totals, BillingRunTable
    row = BillingRunTable(
        attempt.run_id,
        f"{attempt.segment_id}#{attempt.attempt_id}",
        segment_id=attempt.segment_id,
        attempt_id=attempt.attempt_id,
        subscription_id=attempt.subscription_id,
        started_at=iso(attempt.started_at),
        updated_at=iso(attempt.updated_at),
        revision=attempt.revision,
        status=RunStatus.COMPLETED.value if attempt.ended else RunStatus.RUNNING.value,
        settled=totals.settled,
        items=totals.items,
        failures=totals.failures,
        unrated=totals.unrated,
        amounts=dumps({currency: as_text(amount) for currency, amount in totals.amounts.items()}),
        failed=dumps([_failure_json(each) for each in totals.failed]),
        unrated_ledgers=dumps([[each.plan_id, *_key_json(each.key)] for each in totals.unrated_ledgers]),
        handed_over=dumps(totals.handed_over),
        expires_at=_expiry(attempt.started_at),
    )
    try:
        row.save(condition=table.run_id.does_not_exist() | (table.revision < attempt.revision))
    except PutError as error:
        if error_code(error) != "ConditionalCheckFailedException":
            raise


def enlist(run_id: str, started_at: datetime) -> None:
    """List a run among all runs. Doing it again with the same values changes nothing."""
    BillingRunTable(_LIST, _place(run_id, started_at), expires_at=_expiry(started_at)).save()


def newest(before: str | None, limit: int) -> list[str]:
    """Return the places in the list of up to `limit` runs, the newest first, beginning behind the place `before`."""
    earlier = BillingRunTable.part < before if before else None
    rows = BillingRunTable.query(_LIST, earlier, consistent_read=True, scan_index_forward=False, limit=limit)
    return [row.part for row in rows]


def listed(place: str, now: datetime) -> RunReport | None:
    """Return the report of the run at this place of the list, without the ledgers that failed or are unrated.

    None where the run was cut off before its first row was written.
    """
    shown = [name for name in BillingRunTable.get_attributes() if name not in ("failed", "unrated_ledgers")]
    attempts = _attempts(place.rpartition("#")[2], shown)
    return composed(attempts, now) if attempts else None


def _place(run_id: str, started_at: datetime) -> str:
    return f"{started_at.isoformat(timespec='milliseconds')}#{run_id}"


def _expiry(started_at: datetime) -> int:
    return int((started_at + KEPT).timestamp())


def _attempts(run_id: str, attributes: Sequence[str] | None = None) -> list[Attempt]:
    """Return the attempts of a run, of each these attributes only."""
    rows = BillingRunTable.query(run_id, consistent_read=True, attributes_to_get=attributes)
    return [_attempt(row) for row in rows]


def _attempt(row: BillingRunTable) -> Attempt:
    return Attempt(
        run_id=row.run_id,
        segment_id=row.segment_id,
        attempt_id=row.attempt_id,
        subscription_id=row.subscription_id,
        started_at=instant(row.started_at),
        updated_at=instant(row.updated_at),
        revision=row.revision,
        ended=row.status == RunStatus.COMPLETED,
        totals=RunTotals(
            run_id=row.run_id,
            settled=row.settled,
            items=row.items,
            failures=row.failures,
            unrated=row.unrated,
            amounts={currency: Decimal(amount) for currency, amount in loads(row.amounts).items()},
            failed=[_failure(*each) for each in loads(row.failed or "[]")],
            unrated_ledgers=[
                UnratedLedger(LedgerKey.parse(*key), plan) for plan, *key in loads(row.unrated_ledgers or "[]")
            ],
            handed_over=loads(row.handed_over),
        ),
    )


def _key_json(key: LedgerKey) -> list[str]:
    return [key.subscription_id, key.sort_key]


def _failure_json(failure: Failure) -> list[Any]:
    return [failure.code, failure.key and _key_json(failure.key), failure.shard, failure.subscription_id]


def _failure(code: str, key: list[str] | None, shard: str | None, subscription_id: str | None) -> Failure:
    return Failure(code, LedgerKey.parse(*key) if key else None, shard, subscription_id)


def snapshot(totals: RunTotals) -> RunTotals:
    """Return totals that do not change when `totals` do."""
    return replace(
        totals,
        handed_over=list(totals.handed_over),
        amounts=dict(totals.amounts),
        failed=list(totals.failed),
        unrated_ledgers=list(totals.unrated_ledgers),
    )
