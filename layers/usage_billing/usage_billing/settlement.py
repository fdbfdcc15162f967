"""Settling a ledger: bill it from its watermark up to its last entry, as at most one invoice item.

An item charges `amount(total now) - amount(total last billed)`, a difference of two *rounded* charges, so the items
of a ledger always sum to the rounded charge of its total and rounding never drifts. Entries are not read.
Pure: no AWS, no clock, no environment.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from usage_billing.kernel.instants import instant
from usage_billing.kernel.numbers import EXACT, as_text, subtract
from usage_billing.kernel.periods import Period
from usage_billing.usage.ledger import Head, LedgerKey

_SEQUENCE_DIGITS = 15


DRAFT = "draft"
"""The status of an invoice that still takes items."""


def item_id(key: LedgerKey, to_sequence: int) -> str:
    """An item's id in its invoice; zero-padded, so that the ids of a ledger sort by the range they charge."""
    return f"{key.sort_key}#{to_sequence:0{_SEQUENCE_DIGITS}d}"


def last_item_id(key: LedgerKey) -> str:
    """Sorts behind every other item id of the ledger."""
    return item_id(key, 10**_SEQUENCE_DIGITS - 1)


def invoice_id(subscription_id: str, period_start: str) -> str:
    """The id of the one invoice of a subscription and period."""
    return f"{subscription_id}-{period_start.replace('-', '').replace(':', '')}"


def invoice_id_of(key: LedgerKey) -> str:
    """The id of the invoice that a ledger's items go to."""
    return invoice_id(key.subscription_id, key.period_start)


def parse_invoice_id(text: str) -> tuple[str, str] | None:
    """The subscription id and the period start that `invoice_id` was made from; None if it was not."""
    subscription_id, _, compact = text.rpartition("-")
    try:
        moment = instant(f"{compact[:4]}-{compact[4:6]}-{compact[6:11]}:{compact[11:13]}:{compact[13:]}")
        if moment.tzinfo is None:
            return None
        period_start = Period(moment, moment).key
    except (ValueError, OverflowError):  # no instant, or one whose UTC lies before year 1 or after 9999
        return None
    return (subscription_id, period_start) if invoice_id(subscription_id, period_start) == text else None


@dataclass(frozen=True, slots=True)
class InvoiceItem:
    """One charge: the entries `from_sequence`..`to_sequence` of one ledger. `quantity` is their billable quantity."""

    invoice_id: str
    item_id: str
    usage_type: str
    period: Period
    description: str
    quantity: Decimal
    unit_price: Decimal
    amount: Decimal
    currency: str
    from_sequence: int
    to_sequence: int
    run_id: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """What one ledger comes to on its invoice: the sums of its `item_count` items."""

    usage_type: str
    period: Period
    quantity: Decimal
    unit_name: str
    unit_price: Decimal
    amount: Decimal
    currency: str
    item_count: int


def line_of(head: Head) -> InvoiceLine | None:
    """The line of a ledger on its invoice; None where nothing was charged.

    Settling moves the head in the transaction that writes the item, so what is billed according to the head is what
    the items sum to, however many there are.
    """
    if head.terms is None or not (head.billed_quantity and head.terms.unit_price):
        return None
    return InvoiceLine(
        usage_type=head.key.usage_type,
        period=head.period,
        quantity=head.billed_quantity,
        unit_name=head.terms.unit_name,
        unit_price=head.terms.unit_price,
        amount=head.billed_amount,
        currency=head.terms.currency,
        item_count=head.billed_items,
    )


@dataclass(frozen=True, slots=True)
class Settlement:
    """What settling makes of a head. `item` is None where the range charges nothing."""

    after: Head
    item: InvoiceItem | None


def settle(head: Head, run_id: str, now: datetime) -> Settlement:
    """Bill a rated `head` up to its last entry.

    Raises:
        ValueError: the head is unrated, or settled already.
    """
    terms = head.terms
    if terms is None:
        raise ValueError(f"{head.key.ledger_id} has no terms to be billed by")
    if head.is_settled:
        raise ValueError(f"{head.key.ledger_id} is settled")
    quantity = subtract(terms.billable(head.used), head.billed_quantity)
    amount = EXACT.subtract(terms.amount(head.used), head.billed_amount)
    charges = bool(quantity and terms.unit_price)
    after = replace(
        head,
        billed_through=head.last_sequence,
        billed_quantity=terms.billable(head.used),
        billed_amount=terms.amount(head.used),
        billed_items=head.billed_items + charges,
    )
    if not charges:
        return Settlement(after, None)
    item = InvoiceItem(
        invoice_id=invoice_id_of(head.key),
        item_id=item_id(head.key, head.last_sequence),
        usage_type=head.key.usage_type,
        period=head.period,
        description=f"{as_text(quantity)} x {terms.unit_name} beyond the {as_text(terms.included)} included",
        quantity=quantity,
        unit_price=terms.unit_price,
        amount=amount,
        currency=terms.currency,
        from_sequence=head.billed_through + 1,
        to_sequence=head.last_sequence,
        run_id=run_id,
        created_at=now,
    )
    return Settlement(after, item)
