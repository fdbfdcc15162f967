"""GET /api/plans: all plans that have had a quota."""

from usage_billing.access.callers import OPERATORS
from usage_billing.kernel import cursors
from usage_billing.plans import store as quota_store
from usage_billing.plans.api import Plan, Plans
from usage_billing.web.parameters import Cursor, PageSize
from usage_billing.web.resolver import Api

app = Api()


@app.get("/api/plans", allow=OPERATORS)
def list_plans(limit: PageSize = 100, cursor: Cursor = None) -> Plans:
    after = cursors.start_after(cursor)
    found = quota_store.plans(after, limit + 1)
    page = found[:limit]
    return Plans(
        plans=[Plan.of(each) for each in page],
        next_cursor=cursors.encode(page[-1].plan_id) if len(found) > limit else None,
    )


handler = app.handler
