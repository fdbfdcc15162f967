"""What recording a usage event answers."""

from typing import Literal

from usage_billing.kernel.fields import Instant, Strict, Total
from usage_billing.recording import Recorded


class QueuedEvent(Strict):
    """The event is accepted and will be recorded; an event id sent again finds it there."""

    queued: Literal[True] = True
    event_id: str


class QuotaUse(Strict):
    """The ledger right after the event, held against the plan. Null where the plan has no quota for it yet."""

    limit: Total | None
    used: Total
    remaining: Total | None
    exceeded: bool | None
    unit_name: str | None
    period_start: Instant
    period_end: Instant


class RecordedUsage(Strict):
    """A recorded usage event: `billableQuantity` of its `quantity` lies beyond the plan."""

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
