"""GET /api/usage/dead-events: accepted events that could not be recorded, each with a reason."""

from usage_billing.access.callers import ADMINS
from usage_billing.usage.dead_events.api import DeadUsageEvent, DeadUsageEvents
from usage_billing.usage.dead_events.model import Position, Selection
from usage_billing.usage.dead_events.store import page
from usage_billing.web.parameters import CodeFilter, Cursor, EventIdFilter, PageSize, SubscriptionFilter
from usage_billing.web.resolver import Api

app = Api()


@app.get("/api/usage/dead-events", allow=ADMINS)
def list_dead_events(
    code: CodeFilter = None,
    subscription_id: SubscriptionFilter = None,
    event_id: EventIdFilter = None,
    limit: PageSize = 100,
    cursor: Cursor = None,
) -> DeadUsageEvents:
    selection = Selection(code, subscription_id, event_id)
    after = Position.parse(cursor, selection) if cursor is not None else Position()
    found, rest = page(selection, limit, after)
    return DeadUsageEvents(dead_events=list(map(DeadUsageEvent.of, found)), next_cursor=rest and rest.cursor)


handler = app.handler
