"""List pending ledgers, and save a settlement in one transaction."""

from collections.abc import Iterator
from typing import Any

from pynamodb.exceptions import TransactWriteError
from pynamodb.expressions.update import Action

from usage_billing.billing.settlement import Settlement
from usage_billing.invoices.model import DRAFT, InvoiceItem
from usage_billing.kernel.errors import InvoiceCurrencyMismatch, InvoiceNotDraft
from usage_billing.kernel.instants import iso
from usage_billing.kernel.shards import shard_of
from usage_billing.platform.tables import InvoiceTable, UsageInvoiceItemTable, UsageSummaryTable
from usage_billing.platform.transactions import cancellation_reasons, old_item, write
from usage_billing.usage.ledger import Head, LedgerKey
from usage_billing.usage.rows import refused_head, row_of, terms_attribute
from usage_billing.usage.store import HeadMoved


def pending(shard: str, after: LedgerKey | None = None) -> Iterator[LedgerKey]:
    """Yield the pending ledgers of a shard that come after `after`, page by page.

    The index may lag by a moment, so a ledger that was just settled may still be listed.
    """
    start = None
    if after:
        names = {"pending": shard, "subscription_id": after.subscription_id, "ledger": after.sort_key}
        start = {name: {"S": value} for name, value in names.items()}
    for row in UsageSummaryTable.pending_index.query(shard, last_evaluated_key=start, page_size=500):
        yield LedgerKey.parse(row.subscription_id, row.ledger)


def pending_of(subscription_id: str, after: LedgerKey | None = None) -> Iterator[LedgerKey]:
    """Yield the pending ledgers of one subscription that come after `after`, read consistently."""
    behind = UsageSummaryTable.ledger > after.sort_key if after else None
    unsettled = UsageSummaryTable.pending.exists()
    rows = UsageSummaryTable.query(subscription_id, behind, filter_condition=unsettled, consistent_read=True)
    for row in rows:
        yield LedgerKey.parse(row.subscription_id, row.ledger)


def save_settlement(new: Settlement, seen: Head) -> None:
    """Write a settlement in one transaction: the head's watermark, the item and the invoice's total.

    `seen` is the head as read. If it had no terms, the terms of the settlement are pinned. If entries were added since
    it was read, the settlement is still saved, and the ledger stays pending.

    Raises:
        HeadMoved: another settlement was first, or a transaction is in progress.
        InvoiceNotDraft, InvoiceCurrencyMismatch: the invoice cannot accept the item.
    """
    try:
        _write_settlement(new, seen, keep_pending=False)
    except HeadMoved as moved:
        current = moved.head
        only_recorded = current and (current.billed_through, current.terms) == (seen.billed_through, seen.terms)
        if not only_recorded:
            raise
        _write_settlement(new, seen, keep_pending=True)


def _write_settlement(new: Settlement, seen: Head, *, keep_pending: bool) -> None:
    row, after, item = UsageSummaryTable, new.after, new.item
    condition = row.billed_through == seen.billed_through
    actions: list[Action] = [
        row.billed_through.set(after.billed_through),
        row.billed_quantity.set(after.billed_quantity),
        row.billed_amount.set(after.billed_amount),
        row.billed_items.set(after.billed_items),
    ]
    if not keep_pending:
        condition &= row.last_sequence == seen.last_sequence
        actions.append(row.pending.remove())
    if seen.terms is None:
        condition &= row.terms.does_not_exist()
        actions.append(row.terms.set(terms_attribute(after)))
    updates = [row_of(after.key).change(actions, condition)]
    if item:
        updates.append(_added_to_invoice(after, item))
    try:
        write([_put_item(item)] if item else [], updates)
    except TransactWriteError as error:
        if item:
            _, head_reason, invoice_reason = cancellation_reasons(error)
            taken = old_item(invoice_reason)
        else:
            [head_reason], taken = cancellation_reasons(error), None
        if item and taken and not old_item(head_reason):
            raise _refusal(item, InvoiceTable.from_raw_data(taken)) from None
        raise HeadMoved(refused_head(head_reason)) from None


def _added_to_invoice(head: Head, item: InvoiceItem) -> dict[str, Any]:
    row = InvoiceTable
    is_new = row.status.does_not_exist()
    is_open = (row.status == DRAFT) & (row.currency == item.currency)
    return InvoiceTable(head.key.subscription_id, head.key.period_start).change(
        [
            row.status.set(DRAFT),
            row.draft.set(shard_of(item.invoice_id)),
            row.currency.set(item.currency),
            row.user_id.set(head.user_id),
            row.period_end.set(iso(head.period.end)),
            row.total.add(item.amount),
            row.item_count.add(1),
        ],
        is_new | is_open,
    )


def _refusal(item: InvoiceItem, current: InvoiceTable) -> InvoiceNotDraft | InvoiceCurrencyMismatch:
    if current.status != DRAFT:
        return InvoiceNotDraft(f"The invoice {item.invoice_id} is {current.status} and accepts no more items.")
    return InvoiceCurrencyMismatch(
        f"The invoice {item.invoice_id} is in {current.currency}, the charge for {item.usage_type} in {item.currency}."
    )


def _put_item(item: InvoiceItem) -> dict[str, Any]:
    return UsageInvoiceItemTable.new(
        invoice_id=item.invoice_id,
        item_id=item.item_id,
        usage_type=item.usage_type,
        period_start=item.period.key,
        period_end=iso(item.period.end),
        description=item.description,
        quantity=item.quantity,
        unit_price=item.unit_price,
        amount=item.amount,
        currency=item.currency,
        from_sequence=item.from_sequence,
        to_sequence=item.to_sequence,
        run_id=item.run_id,
        created_at=iso(item.created_at),
    )
