"""Load invoices, their lines and their items. Only settling a ledger (`billing.store.save_settlement`) writes them."""

from collections.abc import Iterator
from dataclasses import replace

from pynamodb.exceptions import DoesNotExist
from pynamodb.expressions.condition import Condition

from usage_billing.invoices.ids import invoice_id, invoice_id_of, item_id, last_item_id, parse_invoice_id
from usage_billing.invoices.model import Invoice, InvoiceItem, InvoiceLine, line_of
from usage_billing.kernel.errors import InvoiceNotFound
from usage_billing.kernel.instants import instant
from usage_billing.kernel.money import rounded
from usage_billing.kernel.numbers import ZERO
from usage_billing.kernel.periods import Period
from usage_billing.platform.tables import InvoiceTable, UsageInvoiceItemTable
from usage_billing.usage import store as ledger_store
from usage_billing.usage.ledger import LedgerKey


def invoice(invoice_id: str) -> Invoice:
    """Return the invoice with this id, read consistently.

    Raises:
        InvoiceNotFound: there is none, or nothing is charged yet.
    """
    key = parse_invoice_id(invoice_id)
    try:
        if key:
            return _invoice(InvoiceTable.get(*key, consistent_read=True))
    except DoesNotExist:
        pass
    raise InvoiceNotFound(f"There is no invoice {invoice_id}.")


def invoices(subscription_id: str, before: str | None, limit: int) -> list[Invoice]:
    """Return up to `limit` invoices of a subscription, newest first, from before the period start `before`."""
    earlier = InvoiceTable.period_start < before if before else None
    rows = InvoiceTable.query(subscription_id, earlier, consistent_read=True, scan_index_forward=False, limit=limit)
    return [_invoice(row) for row in rows]


def with_lines(invoice: Invoice) -> tuple[Invoice, list[InvoiceLine]]:
    """Return an invoice with the totals of its lines, and the lines, by usage type, read consistently.

    The lines come from the heads of its ledgers, so the cost depends on the number of ledgers, not of items. Total and
    count are added up from the lines instead of being read separately, so a concurrent settlement cannot make them
    disagree.
    """
    heads = ledger_store.heads(invoice.subscription_id, invoice.period.key)
    lines = [line for line in map(line_of, heads) if line]
    total = sum((line.amount for line in lines), start=ZERO)
    count = sum(line.item_count for line in lines)
    return replace(invoice, total=rounded(total, invoice.currency), item_count=count), lines


def items(invoice: Invoice, usage_type: str | None, after: str | None, limit: int) -> list[InvoiceItem]:
    """Return up to `limit` items of an invoice, or of one usage type on it, by ledger and range, read consistently.

    The first one follows the item id `after`.
    """
    name = UsageInvoiceItemTable.item_id
    condition: Condition | None = name > after if after else None
    if usage_type is not None:
        key = LedgerKey.of(invoice.subscription_id, invoice.period, usage_type)
        # No id lies between an item's and the one with a `!` behind it: BETWEEN includes its bounds.
        first, last = max(item_id(key, 0), f"{after or ''}!"), last_item_id(key)
        if first > last:
            return []
        condition = name.between(first, last)
    rows = UsageInvoiceItemTable.query(invoice.invoice_id, condition, consistent_read=True, limit=limit)
    return [_item(row) for row in rows]


def items_from(key: LedgerKey, sequence: int) -> Iterator[InvoiceItem]:
    """Return the items of a ledger whose ranges end at or after `sequence`, in order, read consistently."""
    reaching = UsageInvoiceItemTable.item_id.between(item_id(key, sequence), last_item_id(key))
    for row in UsageInvoiceItemTable.query(invoice_id_of(key), reaching, consistent_read=True, page_size=100):
        yield _item(row)


def _invoice(row: InvoiceTable) -> Invoice:
    return Invoice(
        invoice_id=invoice_id(row.subscription_id, row.period_start),
        subscription_id=row.subscription_id,
        user_id=row.user_id,
        period=Period(instant(row.period_start), instant(row.period_end)),
        status=row.status,
        currency=row.currency,
        total=rounded(row.total, row.currency),
        item_count=row.item_count,
    )


def _item(row: UsageInvoiceItemTable) -> InvoiceItem:
    return InvoiceItem(
        invoice_id=row.invoice_id,
        item_id=row.item_id,
        usage_type=row.usage_type,
        period=Period(instant(row.period_start), instant(row.period_end)),
        description=row.description,
        quantity=row.quantity,
        unit_price=row.unit_price,
        amount=rounded(row.amount, row.currency),
        currency=row.currency,
        from_sequence=row.from_sequence,
        to_sequence=row.to_sequence,
        run_id=row.run_id,
        created_at=instant(row.created_at),
    )
