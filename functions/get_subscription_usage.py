"""GET /api/usage/subscription/{subscriptionId}: usage of a subscription in a period, by usage type."""

from usage_billing.access.callers import ANY_ROLE
from usage_billing.kernel.errors import SubscriptionNotFound
from usage_billing.platform import clock
from usage_billing.statements import usage
from usage_billing.statements.api import SubscriptionUsage
from usage_billing.subscriptions import store as subscription_store
from usage_billing.web.parameters import Cursor, Day, PageSize, PathIdentifier
from usage_billing.web.resolver import Api

app = Api()


@app.get("/api/usage/subscription/<subscription_id>", allow=ANY_ROLE, raises=[SubscriptionNotFound])
def get_subscription_usage(
    subscription_id: PathIdentifier, period: Day = None, limit: PageSize = 100, cursor: Cursor = None
) -> SubscriptionUsage:
    subscription = app.caller.load_if_allowed(lambda: subscription_store.subscription(subscription_id))
    return SubscriptionUsage.of(usage.usage(subscription, clock.now(), limit, cursor, period))


handler = app.handler
