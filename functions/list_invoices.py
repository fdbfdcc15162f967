"""GET /api/invoices?subscriptionId=: the invoices of a subscription, newest period first."""

from usage_billing.access.callers import ANY_ROLE
from usage_billing.invoices import store as invoice_store
from usage_billing.invoices.api import InvoicesOfSubscription, InvoiceSummary
from usage_billing.kernel import cursors
from usage_billing.kernel.errors import SubscriptionNotFound
from usage_billing.subscriptions import store as subscription_store
from usage_billing.web.parameters import Cursor, PageSize, QuerySubscriptionId
from usage_billing.web.resolver import Api

app = Api()


@app.get("/api/invoices", allow=ANY_ROLE, raises=[SubscriptionNotFound])
def list_invoices(
    subscription_id: QuerySubscriptionId, limit: PageSize = 12, cursor: Cursor = None
) -> InvoicesOfSubscription:
    app.caller.load_if_allowed(lambda: subscription_store.subscription(subscription_id))
    before = cursors.start_after(cursor)
    found = invoice_store.invoices(subscription_id, before, limit + 1)
    page = found[:limit]
    return InvoicesOfSubscription(
        invoices=[InvoiceSummary.of(each) for each in page],
        next_cursor=cursors.encode(page[-1].period.key) if len(found) > limit else None,
    )


handler = app.handler
