"""PUT /api/usage/quotas/{planId}/{usageType}: set a quota from an instant on; open ledgers keep their terms."""

from usage_billing.access.callers import OPERATORS
from usage_billing.kernel.errors import PlanCurrencyMismatch
from usage_billing.plans import store as quota_store
from usage_billing.plans.api import Quota, QuotaTerms
from usage_billing.platform import clock
from usage_billing.web.parameters import PathIdentifier
from usage_billing.web.resolver import Api

app = Api()


@app.put("/api/usage/quotas/<plan_id>/<usage_type>", allow=OPERATORS, raises=[PlanCurrencyMismatch])
def put_quota(plan_id: PathIdentifier, usage_type: PathIdentifier, body: QuotaTerms) -> Quota:
    caller = app.caller
    saved = quota_store.save_version(lambda now: body.quota(plan_id, usage_type, caller.sub, now), clock.now)
    return Quota.of(saved, caller)


handler = app.handler
