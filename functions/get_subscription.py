"""GET /api/subscriptions/{subscriptionId}: a subscription's user, plan, status and billing cycle."""

from usage_billing.access.callers import OPERATORS
from usage_billing.kernel.errors import SubscriptionNotFound
from usage_billing.subscriptions import store as subscription_store
from usage_billing.subscriptions.api import Subscription
from usage_billing.web.parameters import PathIdentifier
from usage_billing.web.resolver import Api

app = Api()


@app.get("/api/subscriptions/<subscription_id>", allow=OPERATORS, raises=[SubscriptionNotFound])
def get_subscription(subscription_id: PathIdentifier) -> Subscription:
    return Subscription.of(subscription_store.subscription(subscription_id))


handler = app.handler
