"""PUT /api/usage/quotas/{planId}/{usageType}: create or replace a quota; open ledgers keep their terms."""

from usage_billing.access.callers import OPERATORS
from usage_billing.kernel.errors import PlanCurrencyMismatch
from usage_billing.plans import store as quota_store
from usage_billing.plans.api import Quota, QuotaTerms
from usage_billing.web.parameters import PathIdentifier
from usage_billing.web.resolver import Api

app = Api()


@app.put("/api/usage/quotas/<plan_id>/<usage_type>", allow=OPERATORS, raises=[PlanCurrencyMismatch])
def put_quota(plan_id: PathIdentifier, usage_type: PathIdentifier, body: QuotaTerms) -> Quota:
    quota = body.quota(plan_id, usage_type)
    quota_store.save_quota(quota)
    return Quota.of(quota)


handler = app.handler
