"""GET /api/usage/quotas/{planId}/{usageType}: one quota of a plan."""

from usage_billing import catalog
from usage_billing.access.callers import ANYONE
from usage_billing.kernel.errors import QuotaNotFound
from usage_billing.pricing import Quota
from usage_billing.web.parameters import PathIdentifier
from usage_billing.web.resolver import Api

app = Api()


@app.get("/api/usage/quotas/<plan_id>/<usage_type>", allow=ANYONE, raises=[QuotaNotFound])
def get_quota(plan_id: PathIdentifier, usage_type: PathIdentifier) -> Quota:
    app.caller.require_that(lambda: catalog.has_subscription_on(app.caller.sub, plan_id))
    return catalog.quota(plan_id, usage_type)


handler = app.handler
