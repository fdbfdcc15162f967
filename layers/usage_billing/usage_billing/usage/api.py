"""Usage events in requests and responses."""

from collections import Counter
from typing import Annotated, Any, Literal
from uuid import uuid4

from pydantic import Field

from usage_billing.kernel.errors import BillingError, FieldError, ValidationFailed
from usage_billing.kernel.fields import Instant, Quantity, Strict, Total
from usage_billing.kernel.identifiers import EventId, Identifier
from usage_billing.usage.events import UsageEvent
from usage_billing.usage.metadata import Metadata
from usage_billing.usage.outcomes import IntakeOutcome, Queued, Recorded
from usage_billing.web.base_models import Request
from usage_billing.web.problems import Problem

MAX_EVENTS_IN_BATCH = 500
MAX_BATCH_BYTES = 1024 * 1024


class ReportedUsage(Request):
    """A usage event as a caller reports it.

    With an `eventId`, or the header Idempotency-Key, the report can be sent again safely. Without either, the event
    gets a new id, and counts twice if it is sent twice. Without `occurredAt`, it occurred at `reportedAt`, or when it
    arrives if that is earlier. When a report is sent again, `reportedAt` may change, but `occurredAt` must not.
    """

    event_id: EventId | None = None
    user_id: Identifier
    subscription_id: Identifier
    usage_type: Identifier
    quantity: Quantity
    occurred_at: Instant | None = None
    reported_at: Instant | None = None
    metadata: Metadata = Field(default_factory=dict)

    def event(self, idempotency_key: str | None = None) -> UsageEvent:
        """Return the event that is reported.

        Raises:
            ValidationFailed: `eventId` and `idempotency_key` differ.
        """
        if self.event_id and idempotency_key and self.event_id != idempotency_key:
            raise ValidationFailed(FieldError("eventId", "contradiction", "must be the same as Idempotency-Key"))
        return UsageEvent(
            event_id=self.event_id or idempotency_key or uuid4().hex,
            user_id=self.user_id,
            subscription_id=self.subscription_id,
            usage_type=self.usage_type,
            quantity=self.quantity,
            occurred_at=self.occurred_at,
            metadata=self.metadata,
            reported_at=self.reported_at,
        )


AnyReport = Annotated[Any, Field(description="a ReportedUsage; one that is invalid is rejected, and only that one")]


class UsageBatch(Request):
    """Usage events, each validated and recorded on its own. An invalid event does not fail the others."""

    events: Annotated[list[AnyReport], Field(min_length=1, max_length=MAX_EVENTS_IN_BATCH)]


class QueuedEvent(Strict):
    """The event is accepted and will be recorded. It can be sent again safely with this event id."""

    queued: Literal[True] = True
    event_id: str


class QuotaUse(Strict):
    """The use of the quota right after the event. Limits are null while the plan has no quota for the usage type."""

    limit: Total | None
    used: Total
    remaining: Total | None
    exceeded: bool | None
    unit_name: str | None
    period_start: Instant
    period_end: Instant


class RecordedUsage(Strict):
    """A recorded usage event. `billableQuantity` is the part of its `quantity` that is overage."""

    event_id: str
    user_id: str
    subscription_id: str
    usage_type: str
    quantity: Total
    occurred_at: Instant
    recorded_at: Instant
    sequence: int
    billable: bool | None
    billable_quantity: Total | None
    quota: QuotaUse

    @classmethod
    def of(cls, recorded: Recorded) -> "RecordedUsage":
        entry, head, quota = recorded.entry, recorded.head, recorded.quota
        billable = entry.billable_under(head.terms)
        return cls(
            event_id=entry.event_id,
            user_id=entry.user_id,
            subscription_id=entry.key.subscription_id,
            usage_type=entry.key.usage_type,
            quantity=entry.quantity,
            occurred_at=entry.occurred_at,
            recorded_at=entry.recorded_at,
            sequence=entry.sequence,
            billable=None if billable is None else billable > 0,
            billable_quantity=billable,
            quota=QuotaUse(
                limit=quota.limit,
                used=quota.used,
                remaining=quota.remaining,
                exceeded=quota.exceeded,
                unit_name=head.terms and head.terms.unit_name,
                period_start=head.period.start,
                period_end=head.period.end,
            ),
        )


class BatchResult(Strict):
    """The result of one event of a batch, with the `record` if it is recorded, or the `problem` if it is rejected."""

    event_id: str | None
    status: Literal["recorded", "replayed", "queued", "rejected"]
    record: RecordedUsage | None = None
    problem: Problem | None = None

    @classmethod
    def of(cls, event_id: str | None, outcome: IntakeOutcome) -> "BatchResult":
        if isinstance(outcome, Queued):
            return cls(event_id=event_id, status="queued")
        if isinstance(outcome, BillingError):
            return cls(event_id=event_id, status="rejected", problem=Problem.of(outcome))
        status: Literal["recorded", "replayed"] = "replayed" if outcome.replayed else "recorded"
        return cls(event_id=event_id, status=status, record=RecordedUsage.of(outcome))


class BatchTotals(Strict):
    recorded: int
    replayed: int
    queued: int
    rejected: int


class BatchResults(Strict):
    """One result per event, in the order sent."""

    results: list[BatchResult]
    totals: BatchTotals

    @classmethod
    def of(cls, results: list[BatchResult]) -> "BatchResults":
        counts = Counter(result.status for result in results)
        return cls(
            results=results,
            totals=BatchTotals(
                recorded=counts["recorded"],
                replayed=counts["replayed"],
                queued=counts["queued"],
                rejected=counts["rejected"],
            ),
        )
