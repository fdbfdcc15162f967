"""Billing runs in requests and responses."""

from typing import Any

from usage_billing.billing.model import Failure, RunTotals, UnratedLedger
from usage_billing.billing.run_reports import RunReport, RunStatus
from usage_billing.kernel.fields import Instant, Strict
from usage_billing.kernel.identifiers import Identifier
from usage_billing.kernel.numbers import as_text
from usage_billing.web.base_models import Page, Request


class BillingScope(Request):
    """The scope of a billing run: one subscription, or everything without `subscriptionId`."""

    subscription_id: Identifier | None = None


class BillingRun(Strict):
    """The result of a billing run. `continues` means that the rest is in the queue, under the same run id.

    `ledgersUnrated` counts ledgers that wait for a quota. `failures` stay pending, and the next run tries them again.
    """

    run_id: str
    status: str
    ledgers_settled: int
    items_created: int
    failures: int
    ledgers_unrated: int
    totals: dict[str, str]

    @classmethod
    def of(cls, totals: RunTotals) -> "BillingRun":
        return cls(
            run_id=totals.run_id,
            status="continues" if totals.handed_over else "completed",
            ledgers_settled=totals.settled,
            items_created=totals.items,
            failures=totals.failures,
            ledgers_unrated=totals.unrated,
            totals={currency: as_text(amount) for currency, amount in sorted(totals.amounts.items())},
        )


class BillingRunSummary(Strict):
    """A billing run so far. `subscriptionId` is null for a run over everything.

    `running` means that `segmentsUnderWay` parts of the run are queued or being processed. `stalled` means that there
    was no sign of them for five hours; the ledgers that they left are pending, and any other run bills them. An
    interruption is an invocation that was cut off: what it settled in its last seconds is on the invoices, but not in
    these counts.
    """

    run_id: str
    status: RunStatus
    subscription_id: str | None
    started_at: Instant
    updated_at: Instant
    ledgers_settled: int
    items_created: int
    failures: int
    ledgers_unrated: int
    totals: dict[str, str]
    segments_completed: int
    segments_under_way: int
    interruptions: int

    @classmethod
    def of(cls, report: RunReport) -> "BillingRunSummary":
        return cls(**_summary(report))


class FailedLedger(Strict):
    """A ledger that was not settled, and the code of the error.

    If ledgers could not be listed or enqueued, `usageType` and `periodStart` are null, and `shard` or `subscriptionId`
    is the part of the run that was left.
    """

    code: str
    subscription_id: str | None
    period_start: str | None
    usage_type: str | None
    shard: str | None

    @classmethod
    def of(cls, failure: Failure) -> "FailedLedger":
        key = failure.key
        return cls(
            code=failure.code,
            subscription_id=key.subscription_id if key else failure.subscription_id,
            period_start=key and key.period_start,
            usage_type=key and key.usage_type,
            shard=failure.shard,
        )


class UnratedLedgerOfRun(Strict):
    """A ledger that waits for a quota of the plan `planId` for its usage type."""

    subscription_id: str
    period_start: str
    usage_type: str
    plan_id: str

    @classmethod
    def of(cls, unrated: UnratedLedger) -> "UnratedLedgerOfRun":
        key = unrated.key
        return cls(
            subscription_id=key.subscription_id,
            period_start=key.period_start,
            usage_type=key.usage_type,
            plan_id=unrated.plan_id,
        )


class BillingRunReport(BillingRunSummary):
    """The summary of a run, and the first 100 ledgers that failed or are unrated."""

    failed_ledgers: list[FailedLedger]
    unrated_ledgers: list[UnratedLedgerOfRun]

    @classmethod
    def of(cls, report: RunReport) -> "BillingRunReport":
        return cls(
            **_summary(report),
            failed_ledgers=[FailedLedger.of(each) for each in report.failed],
            unrated_ledgers=[UnratedLedgerOfRun.of(each) for each in report.unrated_ledgers],
        )


class BillingRuns(Page):
    runs: list[BillingRunSummary]


def _summary(report: RunReport) -> dict[str, Any]:
    return {
        "run_id": report.run_id,
        "status": report.status,
        "subscription_id": report.subscription_id,
        "started_at": report.started_at,
        "updated_at": report.updated_at,
        "ledgers_settled": report.settled,
        "items_created": report.items,
        "failures": report.failures,
        "ledgers_unrated": report.unrated,
        "totals": {currency: as_text(amount) for currency, amount in sorted(report.amounts.items())},
        "segments_completed": report.segments_completed,
        "segments_under_way": report.segments_under_way,
        "interruptions": report.interruptions,
    }
