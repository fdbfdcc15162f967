"""PUT /api/subscriptions/{subscriptionId}: create or replace a subscription; its user cannot change."""

from usage_billing.access.callers import OPERATORS
from usage_billing.kernel.errors import SubscriptionUserFixed
from usage_billing.platform import clock
from usage_billing.subscriptions import store as subscription_store
from usage_billing.subscriptions.api import Subscription, SubscriptionTerms
from usage_billing.web.parameters import PathIdentifier
from usage_billing.web.resolver import Api

app = Api()


@app.put("/api/subscriptions/<subscription_id>", allow=OPERATORS, raises=[SubscriptionUserFixed])
def put_subscription(subscription_id: PathIdentifier, body: SubscriptionTerms) -> Subscription:
    now = clock.now()
    saved = subscription_store.change_subscription(
        subscription_id, lambda current: body.subscription(subscription_id, current, now)
    )
    return Subscription.of(saved)


handler = app.handler
