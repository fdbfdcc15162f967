"""GET /api/usage/quotas/{planId}: the quotas of a plan: for each usage type the version in force, and the next one."""

from usage_billing.access.callers import ANY_ROLE
from usage_billing.kernel import cursors
from usage_billing.plans import store as quota_store
from usage_billing.plans.api import Quota, Quotas
from usage_billing.platform import clock
from usage_billing.subscriptions import store as subscription_store
from usage_billing.web.parameters import Cursor, PageSize, PathIdentifier
from usage_billing.web.resolver import Api

app = Api()


@app.get("/api/usage/quotas/<plan_id>", allow=ANY_ROLE)
def list_quotas(plan_id: PathIdentifier, limit: PageSize = 100, cursor: Cursor = None) -> Quotas:
    now = clock.now()
    app.caller.require_owner(lambda: subscription_store.has_subscription_on(app.caller.sub, plan_id))
    after = cursors.start_after(cursor)
    found = quota_store.quotas(plan_id, now, after, limit + 1)
    page = found[:limit]
    return Quotas(
        quotas=[Quota.of(each, app.caller) for each in page],
        next_cursor=cursors.encode(page[-1].version.usage_type) if len(found) > limit else None,
    )


handler = app.handler
