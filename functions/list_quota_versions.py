"""GET /api/usage/quotas/{planId}/{usageType}/versions: the versions of a quota, newest first."""

from usage_billing.access.callers import ANY_ROLE
from usage_billing.kernel import cursors
from usage_billing.kernel.errors import QuotaNotFound
from usage_billing.kernel.instants import iso
from usage_billing.plans import store as quota_store
from usage_billing.plans.api import QuotaVersion, QuotaVersions
from usage_billing.subscriptions import store as subscription_store
from usage_billing.web.parameters import Cursor, PageSize, PathIdentifier
from usage_billing.web.resolver import Api

app = Api()


@app.get("/api/usage/quotas/<plan_id>/<usage_type>/versions", allow=ANY_ROLE, raises=[QuotaNotFound])
def list_quota_versions(
    plan_id: PathIdentifier, usage_type: PathIdentifier, limit: PageSize = 100, cursor: Cursor = None
) -> QuotaVersions:
    app.caller.require_owner(lambda: subscription_store.has_subscription_on(app.caller.sub, plan_id))
    before = cursors.start_after(cursor, plan_id, usage_type)
    found = quota_store.versions(plan_id, usage_type, before, limit + 1)
    page = found[:limit]
    last = iso(page[-1].effective_from) if len(found) > limit else None
    return QuotaVersions(
        versions=[QuotaVersion.of_version(each, app.caller) for each in page],
        next_cursor=last and cursors.encode(plan_id, usage_type, last),
    )


handler = app.handler
