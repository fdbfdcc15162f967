"""GET /api/invoices/{invoiceId}: an invoice with its items."""

from usage_billing import invoices
from usage_billing.access import ANYONE
from usage_billing.answers.billed import InvoiceWithItems
from usage_billing.errors import InvoiceNotFound
from usage_billing.http import Api
from usage_billing.requests import PathInvoiceId

app = Api()


@app.get("/api/invoices/<invoice_id>", allow=ANYONE, raises=[InvoiceNotFound])
def get_invoice(invoice_id: PathInvoiceId) -> InvoiceWithItems:
    invoice = app.caller.reach(lambda: invoices.named(invoice_id))
    return InvoiceWithItems.of(invoice, invoices.items(invoice_id))


handler = app.handler
