"""Usage and records in responses."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from usage_billing.kernel.fields import Amount, Instant, Strict, Total
from usage_billing.kernel.money import shown_price
from usage_billing.statements.records import Record
from usage_billing.statements.usage import UsagePage
from usage_billing.usage.dead_events.model import DeadEvent
from usage_billing.usage.ledger import Head
from usage_billing.web.base_models import Page


class UsageOfType(Strict):
    """The usage of one type. Fields that depend on the quota are null until the plan has one."""

    usage_type: str
    unit_name: str | None
    used: Total
    limit: Total | None
    remaining: Total | None
    exceeded: bool | None
    billable_quantity: Total | None
    billed_quantity: Total
    unit_price: Amount | None
    charge: Amount | None
    currency: str | None

    @classmethod
    def of(cls, head: Head) -> "UsageOfType":
        terms, quota = head.terms, head.quota
        return cls(
            usage_type=head.key.usage_type,
            unit_name=terms and terms.unit_name,
            used=quota.used,
            limit=quota.limit,
            remaining=quota.remaining,
            exceeded=quota.exceeded,
            billable_quantity=head.billable,
            billed_quantity=head.billed_quantity,
            unit_price=terms and shown_price(terms.price.unit_price, terms.currency),
            charge=head.charge,
            currency=terms and terms.currency,
        )


class SubscriptionUsage(Page):
    """The usage of a subscription in one period, by usage type.

    Until the period ends, unused usage types of the plan are listed too, with the plan's current terms.
    """

    subscription_id: str
    user_id: str
    plan_id: str
    period_start: Instant
    period_end: Instant
    usage: list[UsageOfType]

    @classmethod
    def of(cls, page: UsagePage) -> "SubscriptionUsage":
        subscription, period = page.subscription, page.period
        return cls(
            subscription_id=subscription.subscription_id,
            user_id=subscription.user_id,
            plan_id=subscription.plan_id,
            period_start=period.start,
            period_end=period.end,
            usage=[UsageOfType.of(head) for head in page.heads],
            next_cursor=page.next_cursor,
        )


class UserUsage(Page):
    """The usage of a user in the current period of each subscription.

    Each subscription has its first 20 usage types. Send its own `nextCursor` to the subscription's endpoint for more.
    """

    user_id: str
    subscriptions: list[SubscriptionUsage]


class UsageRecord(Strict):
    """A recorded event. `invoiceItemId` is the item of the invoice `invoiceId` that charged it, if there is one."""

    event_id: str
    user_id: str
    subscription_id: str
    usage_type: str
    quantity: Total
    cumulative_quantity: Total
    occurred_at: Instant
    recorded_at: Instant
    sequence: int
    billable: bool | None
    billable_quantity: Total | None
    processed: bool
    invoice_id: str | None
    invoice_item_id: str | None
    metadata: Mapping[str, Any]

    @classmethod
    def of(cls, record: Record) -> Self:
        entry, head, item = record.entry, record.head, record.item
        billable = entry.billable_under(head.terms)
        return cls(
            event_id=entry.event_id,
            user_id=entry.user_id,
            subscription_id=entry.key.subscription_id,
            usage_type=entry.key.usage_type,
            quantity=entry.quantity,
            cumulative_quantity=entry.cumulative,
            occurred_at=entry.occurred_at,
            recorded_at=entry.recorded_at,
            sequence=entry.sequence,
            billable=None if billable is None else billable > 0,
            billable_quantity=billable,
            processed=entry.sequence <= head.billed_through,
            invoice_id=item and item.invoice_id,
            invoice_item_id=item and item.item_id,
            metadata=entry.metadata,
        )


class UsageRecords(Page):
    records: list[UsageRecord]


class RecordedEvent(UsageRecord):
    """A recorded event, with the same fields as in the list of records."""

    status: Literal["recorded"] = "recorded"


class UnrecordedEvent(Strict):
    """An accepted event that could not be recorded, and the reason. It is not billed unless an operator redrives it."""

    status: Literal["dead"] = "dead"
    event_id: str
    subscription_id: str
    code: str
    detail: str
    dead_at: Instant
    last_dead_at: Instant
    attempts: int

    @classmethod
    def of(cls, dead: DeadEvent) -> "UnrecordedEvent":
        return cls(
            event_id=dead.event_id or "",
            subscription_id=dead.subscription_id,
            code=dead.code,
            detail=dead.detail,
            dead_at=dead.dead_at,
            last_dead_at=dead.last_dead_at,
            attempts=dead.attempts,
        )
