"""DELETE /api/usage/quotas/{planId}/{usageType}/versions/{effectiveFrom}: withdraw a version before it takes effect."""

from usage_billing.access.callers import OPERATORS
from usage_billing.kernel.errors import QuotaVersionInEffect, QuotaVersionNotFound
from usage_billing.plans import store as quota_store
from usage_billing.plans.api import DeletedQuotaVersion
from usage_billing.platform import clock
from usage_billing.web.parameters import PathEffectiveFrom, PathIdentifier
from usage_billing.web.resolver import Api

app = Api()


@app.delete(
    "/api/usage/quotas/<plan_id>/<usage_type>/versions/<effective_from>",
    allow=OPERATORS,
    raises=[QuotaVersionNotFound, QuotaVersionInEffect],
)
def delete_quota_version(
    plan_id: PathIdentifier, usage_type: PathIdentifier, effective_from: PathEffectiveFrom
) -> DeletedQuotaVersion:
    caller = app.caller
    deleted = quota_store.delete_version(plan_id, usage_type, effective_from, caller.sub, clock.now)
    return DeletedQuotaVersion.of(deleted, caller)


handler = app.handler
