"""GET /api/usage/quotas/{planId}/{usageType}: one quota of a plan: the version in force, and the next one."""

from usage_billing.access.callers import ANY_ROLE
from usage_billing.kernel.errors import QuotaNotFound
from usage_billing.plans import store as quota_store
from usage_billing.plans.api import Quota
from usage_billing.platform import clock
from usage_billing.subscriptions import store as subscription_store
from usage_billing.web.parameters import PathIdentifier
from usage_billing.web.resolver import Api

app = Api()


@app.get("/api/usage/quotas/<plan_id>/<usage_type>", allow=ANY_ROLE, raises=[QuotaNotFound])
def get_quota(plan_id: PathIdentifier, usage_type: PathIdentifier) -> Quota:
    now = clock.now()
    app.caller.require_owner(lambda: subscription_store.has_subscription_on(app.caller.sub, plan_id))
    return Quota.of(quota_store.quota(plan_id, usage_type, now), app.caller)


handler = app.handler
