"""Invoices, their lines and their items. Pure."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from usage_billing.kernel.periods import Period
from usage_billing.usage.ledger import Head

DRAFT = "draft"
"""The status of an invoice that still takes items."""


@dataclass(frozen=True, slots=True)
class InvoiceItem:
    """One charge: the entries `from_sequence`..`to_sequence` of one ledger. `quantity` is their billable quantity."""

    invoice_id: str
    item_id: str
    usage_type: str
    period: Period
    description: str
    quantity: Decimal
    unit_price: Decimal | None
    amount: Decimal
    currency: str
    from_sequence: int
    to_sequence: int
    run_id: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """One ledger on its invoice: the sums of its `item_count` items."""

    usage_type: str
    period: Period
    quantity: Decimal
    unit_name: str
    unit_price: Decimal | None
    amount: Decimal
    currency: str
    item_count: int


def line_of(head: Head) -> InvoiceLine | None:
    """Return the line of a ledger on its invoice; None if nothing was billed.

    Settling moves the head in the transaction that writes the item, so what is billed according to the head is what
    the items sum to, however many there are.
    """
    if head.terms is None or not (head.billed_items or head.billed_amount):
        return None
    return InvoiceLine(
        usage_type=head.key.usage_type,
        period=head.period,
        quantity=head.billed_quantity,
        unit_name=head.terms.unit_name,
        unit_price=head.terms.price.unit_price,
        amount=head.billed_amount,
        currency=head.terms.currency,
        item_count=head.billed_items,
    )


@dataclass(frozen=True, slots=True)
class Invoice:
    """The usage charges of a subscription in one period: a draft that grows with each billing run, then final."""

    invoice_id: str
    subscription_id: str
    user_id: str
    period: Period
    status: str
    currency: str
    total: Decimal
    item_count: int
