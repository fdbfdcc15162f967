"""POST /api/usage/process-billing: run billing now, for all subscriptions or for one."""

from usage_billing.access.callers import OPERATORS
from usage_billing.billing.api import BillingRun, BillingScope
from usage_billing.billing.run_invocation import start
from usage_billing.kernel.errors import QueueUnavailable, SubscriptionNotFound
from usage_billing.subscriptions import store as subscription_store
from usage_billing.web.resolver import Api

app = Api()


@app.post("/api/usage/process-billing", allow=OPERATORS, raises=[SubscriptionNotFound, QueueUnavailable])
def process_billing(scope: BillingScope | None = None) -> BillingRun:
    subscription_id = scope.subscription_id if scope else None
    if subscription_id is not None:
        subscription_store.subscription(subscription_id)
    return BillingRun.of(start(subscription_id, app.lambda_context))


handler = app.handler
