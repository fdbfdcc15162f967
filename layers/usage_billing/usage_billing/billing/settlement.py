"""Settlement of a ledger: from its watermark up to its last entry, as at most one invoice item.

An item charges `amount(total now) - amount(total last billed)`, a difference of two *rounded* charges, so the items
of a ledger always sum to the rounded charge of its total, and rounding never drifts. Entries are not read. Pure.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from usage_billing.invoices.ids import invoice_id_of, item_id
from usage_billing.invoices.model import InvoiceItem
from usage_billing.kernel.numbers import EXACT, as_text, subtract
from usage_billing.usage.ledger import Head


@dataclass(frozen=True, slots=True)
class Settlement:
    """The head after it is settled, and the invoice item. `item` is None if the range charges nothing."""

    after: Head
    item: InvoiceItem | None


def settle(head: Head, run_id: str, now: datetime) -> Settlement:
    """Bill a rated `head` up to its last entry.

    Raises:
        ValueError: the head is unrated or already settled.
    """
    terms = head.terms
    if terms is None:
        raise ValueError(f"{head.key.ledger_id} has no terms")
    if head.is_settled:
        raise ValueError(f"{head.key.ledger_id} is already settled")
    charged = terms.overage(head.used)
    quantity = subtract(charged, head.billed_quantity)
    amount = EXACT.subtract(terms.amount(charged), head.billed_amount)
    # A free quantity makes no item. A quantity that adds nothing to a charge does, so that items cover all of it.
    charges = bool(quantity and (terms.charge(charged) or terms.price.charge(head.billed_quantity)))
    after = replace(
        head,
        billed_through=head.last_sequence,
        billed_quantity=charged,
        billed_amount=terms.amount(charged),
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
        unit_price=terms.price.unit_price,
        amount=amount,
        currency=terms.currency,
        from_sequence=head.billed_through + 1,
        to_sequence=head.last_sequence,
        run_id=run_id,
        created_at=now,
    )
    return Settlement(after, item)
