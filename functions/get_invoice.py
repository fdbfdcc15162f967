"""GET /api/invoices/{invoiceId}: an invoice with one line per usage type and period."""

from usage_billing.access.callers import ANY_ROLE
from usage_billing.invoices import store as invoice_store
from usage_billing.invoices.api import InvoiceWithLines
from usage_billing.kernel.errors import InvoiceNotFound
from usage_billing.web.parameters import PathInvoiceId
from usage_billing.web.resolver import Api

app = Api()


@app.get("/api/invoices/<invoice_id>", allow=ANY_ROLE, raises=[InvoiceNotFound])
def get_invoice(invoice_id: PathInvoiceId) -> InvoiceWithLines:
    invoice = app.caller.load_if_allowed(lambda: invoice_store.invoice(invoice_id))
    return InvoiceWithLines.with_lines(*invoice_store.with_lines(invoice))


handler = app.handler
