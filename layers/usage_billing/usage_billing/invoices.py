"""Load invoices and their items. Only settling a ledger (`store.save_settlement`) writes them."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from pynamodb.exceptions import DoesNotExist

from usage_billing.errors import InvoiceNotFound
from usage_billing.ledger import LedgerKey
from usage_billing.periods import Period
from usage_billing.pricing import rounded
from usage_billing.settlement import InvoiceItem, invoice_id, invoice_id_of, item_id, last_item_id, parse_invoice_id
from usage_billing.tables import InvoiceTable, UsageInvoiceItemTable
from usage_billing.values import instant

DRAFT = "draft"


@dataclass(frozen=True, slots=True)
class Invoice:
    """What a subscription owes for usage in one period: a draft that grows with the billing runs, then final."""

    invoice_id: str
    subscription_id: str
    user_id: str
    period: Period
    status: str
    currency: str
    total: Decimal


def named(invoice_id: str) -> Invoice:
    """The invoice of that id, read consistently.

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
    """Up to `limit` invoices of a subscription, newest period first, beginning before the period start `before`."""
    earlier = InvoiceTable.period_start < before if before else None
    rows = InvoiceTable.query(subscription_id, earlier, consistent_read=True, scan_index_forward=False, limit=limit)
    return [_invoice(row) for row in rows]


def items(invoice_id: str) -> list[InvoiceItem]:
    """All items of an invoice, by usage type and range, read consistently."""
    return [_item(row) for row in UsageInvoiceItemTable.query(invoice_id, consistent_read=True)]


def items_from(key: LedgerKey, sequence: int) -> Iterator[InvoiceItem]:
    """The items of a ledger that reach to `sequence` or beyond, in order of their ranges, read consistently."""
    reaching = UsageInvoiceItemTable.item_id.between(item_id(key.usage_type, sequence), last_item_id(key.usage_type))
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
    )


def _item(row: UsageInvoiceItemTable) -> InvoiceItem:
    return InvoiceItem(
        invoice_id=row.invoice_id,
        item_id=row.item_id,
        usage_type=row.usage_type,
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
