"""GET /api/usage/user/{userId}: usage of a user in the current periods, by subscription and usage type."""

from usage_billing.access.callers import ANY_ROLE
from usage_billing.kernel import cursors
from usage_billing.platform import clock
from usage_billing.statements import usage
from usage_billing.statements.api import SubscriptionUsage, UserUsage
from usage_billing.subscriptions import store as subscription_store
from usage_billing.web.parameters import Cursor, PageSize, PathIdentifier
from usage_billing.web.resolver import Api

USAGE_TYPES = 20
"""Maximum per subscription. It keeps a page of 100 subscriptions below 6 MB, the limit of a Lambda response."""

app = Api()


@app.get("/api/usage/user/<user_id>", allow=ANY_ROLE)
def get_user_usage(user_id: PathIdentifier, limit: PageSize = 25, cursor: Cursor = None) -> UserUsage:
    app.caller.require_user(user_id)
    after = cursors.start_after(cursor)
    subscriptions = subscription_store.subscriptions_of(user_id, after, limit + 1)
    page, now = subscriptions[:limit], clock.now()
    return UserUsage(
        user_id=user_id,
        subscriptions=[SubscriptionUsage.of(usage.usage(each, now, USAGE_TYPES)) for each in page],
        next_cursor=cursors.encode(page[-1].subscription_id) if len(subscriptions) > limit else None,
    )


handler = app.handler
