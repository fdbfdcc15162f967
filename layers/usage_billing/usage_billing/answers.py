"""What the API answers: the JSON shapes, and how they are made from domain values."""

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema

from usage_billing.billing import RunTotals
from usage_billing.errors import BillingError
from usage_billing.http import Problem
from usage_billing.intake import Queued, Taken
from usage_billing.invoices import Invoice
from usage_billing.ledger import Entry, Head
from usage_billing.periods import Period
from usage_billing.pricing import Quota, in_minor_units
from usage_billing.recording import Recorded
from usage_billing.settlement import InvoiceItem
from usage_billing.subscriptions import Subscription
from usage_billing.values import Amount, Instant, Strict, Total, as_text


class Page(Strict):
    """A part of a list. `nextCursor` is there if, and only if, there may be more."""

    next_cursor: Annotated[
        str | None, Field(exclude_if=lambda cursor: cursor is None), WithJsonSchema({"type": "string"})
    ] = None


class QueuedEvent(Strict):
    """The event is accepted and will be recorded; an event id sent again finds it there."""

    queued: Literal[True] = True
    event_id: str


class BatchResult(Strict):
    """What became of one event of a batch; `record` or `problem` says more."""

    event_id: str | None
    status: Literal["recorded", "replayed", "queued", "rejected"]
    record: "RecordedUsage | None" = None
    problem: Problem | None = None

    @classmethod
    def of(cls, event_id: str | None, taken: Taken) -> "BatchResult":
        if isinstance(taken, Queued):
            return cls(event_id=event_id, status="queued")
        if isinstance(taken, BillingError):
            return cls(event_id=event_id, status="rejected", problem=Problem.of(taken))
        status: Literal["recorded", "replayed"] = "replayed" if taken.replayed else "recorded"
        return cls(event_id=event_id, status=status, record=RecordedUsage.of(taken))


class BatchTotals(Strict):
    recorded: int
    replayed: int
    queued: int
    rejected: int


class BatchResults(Strict):
    """One result an event, in the order sent."""

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


class UsageOfType(Strict):
    """One ledger. Null is what is not known before the plan has a quota for it."""

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
            unit_price=terms and in_minor_units(terms.unit_price, terms.currency),
            charge=head.charge,
            currency=terms and terms.currency,
        )


class SubscriptionUsage(Strict):
    """The usage of a subscription in one period, by usage type."""

    subscription_id: str
    user_id: str
    plan_id: str
    period_start: Instant
    period_end: Instant
    usage: list[UsageOfType]

    @classmethod
    def of(cls, subscription: Subscription, period: Period, heads: list[Head]) -> "SubscriptionUsage":
        return cls(
            subscription_id=subscription.subscription_id,
            user_id=subscription.user_id,
            plan_id=subscription.plan_id,
            period_start=period.start,
            period_end=period.end,
            usage=[UsageOfType.of(head) for head in heads],
        )


class UserUsage(Page):
    """The usage of a user in the current periods of their subscriptions."""

    user_id: str
    subscriptions: list[SubscriptionUsage]


class UsageRecord(Strict):
    """One entry of a ledger. `invoiceItemId` names the item of `invoiceId` that charged its range, if one did."""

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
    def of(cls, entry: Entry, head: Head, item: InvoiceItem | None) -> "UsageRecord":
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


class Quotas(Page):
    quotas: list[Quota]


class BillingRun(Strict):
    """What a billing run did. `continues`: the rest is in the queue and goes on under the same run id.

    `ledgersUnrated` wait for a quota of their plan; `failures` stay pending and are tried by the next run.
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


class ItemOfInvoice(Strict):
    """One charge for the entries `fromSequence` to `toSequence` of one usage type; `quantity` is what was billable."""

    item_id: str
    usage_type: str
    description: str
    quantity: Total
    unit_price: Amount
    amount: Amount
    from_sequence: int
    to_sequence: int
    run_id: str
    created_at: Instant

    @classmethod
    def of(cls, item: InvoiceItem) -> "ItemOfInvoice":
        return cls(
            item_id=item.item_id,
            usage_type=item.usage_type,
            description=item.description,
            quantity=item.quantity,
            unit_price=in_minor_units(item.unit_price, item.currency),
            amount=item.amount,
            from_sequence=item.from_sequence,
            to_sequence=item.to_sequence,
            run_id=item.run_id,
            created_at=item.created_at,
        )


class InvoiceWithItems(Strict):
    """An invoice: its total is the sum of its items."""

    invoice_id: str
    subscription_id: str
    user_id: str
    status: str
    period_start: Instant
    period_end: Instant
    currency: str
    total: Amount
    items: list[ItemOfInvoice]

    @classmethod
    def of(cls, invoice: Invoice, items: list[InvoiceItem]) -> "InvoiceWithItems":
        return cls(
            invoice_id=invoice.invoice_id,
            subscription_id=invoice.subscription_id,
            user_id=invoice.user_id,
            status=invoice.status,
            period_start=invoice.period.start,
            period_end=invoice.period.end,
            currency=invoice.currency,
            total=invoice.total,
            items=[ItemOfInvoice.of(item) for item in items],
        )


class InvoicesOfSubscription(Page):
    invoices: list[InvoiceWithItems]
