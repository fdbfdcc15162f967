"""Settling a ledger: bill it from its watermark up to its last entry, as at most one invoice item.

An item charges `amount(total now) - amount(total last billed)`, a difference of two *rounded* charges, so the items
of a ledger always sum to the rounded charge of its total and rounding never drifts. Entries are not read.
Pure: no AWS, no clock, no environment.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from usage_billing.ledger import Head, LedgerKey
from usage_billing.periods import Period
from usage_billing.values import EXACT, as_text, instant, subtract

_SEQUENCE_DIGITS = 15


def item_id(usage_type: str, to_sequence: int) -> str:
    """An item's id in its invoice; zero-padded, so that ids of a usage type sort by the range they charge."""
    return f"{usage_type}#{to_sequence:0{_SEQUENCE_DIGITS}d}"


def last_item_id(usage_type: str) -> str:
    """Sorts behind every other item id of the usage type."""
    return item_id(usage_type, 10**_SEQUENCE_DIGITS - 1)


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
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    period_start = Period(moment, moment).key
    return (subscription_id, period_start) if invoice_id(subscription_id, period_start) == text else None


@dataclass(frozen=True, slots=True)
class InvoiceItem:
    """One charge: the entries `from_sequence`..`to_sequence` of one ledger. `quantity` is their billable quantity."""

    invoice_id: str
    item_id: str
    usage_type: str
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
    after = replace(
        head,
        billed_through=head.last_sequence,
        billed_quantity=terms.billable(head.used),
        billed_amount=terms.amount(head.used),
    )
    if not (quantity and terms.unit_price):
        return Settlement(after, None)
    item = InvoiceItem(
        invoice_id=invoice_id_of(head.key),
        item_id=item_id(head.key.usage_type, head.last_sequence),
        usage_type=head.key.usage_type,
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
