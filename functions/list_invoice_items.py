"""GET /api/invoices/{invoiceId}/items: the individual charges of an invoice, in order of usage type and entries."""

from usage_billing.access.callers import ANY_ROLE
from usage_billing.invoices import store as invoice_store
from usage_billing.invoices.api import ItemOfInvoice, ItemsOfInvoice
from usage_billing.kernel import cursors
from usage_billing.kernel.errors import InvoiceNotFound
from usage_billing.web.parameters import Cursor, PageSize, PathInvoiceId, UsageTypeFilter
from usage_billing.web.resolver import Api

app = Api()


@app.get("/api/invoices/<invoice_id>/items", allow=ANY_ROLE, raises=[InvoiceNotFound])
def list_invoice_items(
    invoice_id: PathInvoiceId, usage_type: UsageTypeFilter = None, limit: PageSize = 100, cursor: Cursor = None
) -> ItemsOfInvoice:
    invoice = app.caller.load_if_allowed(lambda: invoice_store.invoice(invoice_id))
    after = cursors.start_after(cursor, invoice_id, usage_type or "")
    found = invoice_store.items(invoice, usage_type, after, limit + 1)
    page = found[:limit]
    return ItemsOfInvoice(
        items=[ItemOfInvoice.of(each) for each in page],
        next_cursor=cursors.encode(invoice_id, usage_type or "", page[-1].item_id) if len(found) > limit else None,
    )


handler = app.handler
