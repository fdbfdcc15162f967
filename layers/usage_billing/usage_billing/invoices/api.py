"""Invoices in responses."""

from typing import Any

from usage_billing.invoices.model import Invoice, InvoiceItem, InvoiceLine
from usage_billing.kernel.fields import Amount, Instant, Strict, Total
from usage_billing.kernel.money import rounded, shown_price
from usage_billing.web.base_models import Page


class InvoiceSummary(Strict):
    """An invoice without its lines: its total is the sum of its `itemCount` items."""

    invoice_id: str
    subscription_id: str
    user_id: str
    status: str
    period_start: Instant
    period_end: Instant
    currency: str
    total: Amount
    item_count: int

    @classmethod
    def of(cls, invoice: Invoice) -> "InvoiceSummary":
        return cls(**_summary(invoice))


class LineOfInvoice(Strict):
    """A usage type in one billing period: `quantity` and `amount` are the sums of its `itemCount` items."""

    usage_type: str
    period_start: Instant
    period_end: Instant
    unit_name: str
    quantity: Total
    unit_price: Amount | None
    amount: Amount
    item_count: int

    @classmethod
    def of(cls, line: InvoiceLine) -> "LineOfInvoice":
        return cls(
            usage_type=line.usage_type,
            period_start=line.period.start,
            period_end=line.period.end,
            unit_name=line.unit_name,
            quantity=line.quantity,
            unit_price=shown_price(line.unit_price, line.currency),
            amount=rounded(line.amount, line.currency),
            item_count=line.item_count,
        )


class InvoiceWithLines(InvoiceSummary):
    """An invoice with its lines: total and count are the sums of theirs."""

    lines: list[LineOfInvoice]

    @classmethod
    def with_lines(cls, invoice: Invoice, lines: list[InvoiceLine]) -> "InvoiceWithLines":
        return cls(**_summary(invoice), lines=[LineOfInvoice.of(line) for line in lines])


class InvoicesOfSubscription(Page):
    invoices: list[InvoiceSummary]


class ItemOfInvoice(Strict):
    """One charge for the entries `fromSequence` to `toSequence` of one usage type; `quantity` is what was billable."""

    item_id: str
    usage_type: str
    period_start: Instant
    period_end: Instant
    description: str
    quantity: Total
    unit_price: Amount | None
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
            period_start=item.period.start,
            period_end=item.period.end,
            description=item.description,
            quantity=item.quantity,
            unit_price=shown_price(item.unit_price, item.currency),
            amount=item.amount,
            from_sequence=item.from_sequence,
            to_sequence=item.to_sequence,
            run_id=item.run_id,
            created_at=item.created_at,
        )


class ItemsOfInvoice(Page):
    items: list[ItemOfInvoice]


def _summary(invoice: Invoice) -> dict[str, Any]:
    return {
        "invoice_id": invoice.invoice_id,
        "subscription_id": invoice.subscription_id,
        "user_id": invoice.user_id,
        "status": invoice.status,
        "period_start": invoice.period.start,
        "period_end": invoice.period.end,
        "currency": invoice.currency,
        "total": invoice.total,
        "item_count": invoice.item_count,
    }
