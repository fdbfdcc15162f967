"""What was billed: runs and invoices."""

from usage_billing.answers import Page
from usage_billing.billing import RunTotals
from usage_billing.invoices import Invoice
from usage_billing.pricing import in_minor_units
from usage_billing.settlement import InvoiceItem
from usage_billing.values import Amount, Instant, Strict, Total, as_text


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
