"""GET /api/usage/subscription/{subscriptionId}/records: the recorded events of a period, by ledger and in order."""

from usage_billing.access.callers import ANY_ROLE
from usage_billing.kernel.errors import SubscriptionNotFound
from usage_billing.platform import clock
from usage_billing.statements.api import UsageRecord, UsageRecords
from usage_billing.statements.records import records
from usage_billing.subscriptions import store as subscription_store
from usage_billing.web.parameters import Cursor, Day, PageSize, PathIdentifier, UsageTypeFilter
from usage_billing.web.resolver import Api

app = Api()


@app.get("/api/usage/subscription/<subscription_id>/records", allow=ANY_ROLE, raises=[SubscriptionNotFound])
def list_usage_records(
    subscription_id: PathIdentifier,
    period: Day = None,
    usage_type: UsageTypeFilter = None,
    limit: PageSize = 100,
    cursor: Cursor = None,
) -> UsageRecords:
    subscription = app.caller.load_if_allowed(lambda: subscription_store.subscription(subscription_id))
    cut = subscription.cycle.period_of(period or clock.now())
    page, next_cursor = records(subscription_id, cut, usage_type, limit, cursor)
    return UsageRecords(records=[UsageRecord.of(each) for each in page], next_cursor=next_cursor)


handler = app.handler
