"""POST /api/usage/dead-events/drop: remove dead events for good; by id, or all of a kind."""

from usage_billing.access.callers import ADMINS
from usage_billing.platform import clock
from usage_billing.platform.deadline import MOVE_RESERVE, Deadline
from usage_billing.usage.dead_events import redriving
from usage_billing.usage.dead_events.api import MAX_SELECTION_BYTES, DeadEventSelection, DroppedEvents
from usage_billing.usage.dead_events.model import Selection
from usage_billing.web.resolver import Api

app = Api()


@app.post("/api/usage/dead-events/drop", allow=ADMINS, max_bytes=MAX_SELECTION_BYTES)
def drop_events(asked: DeadEventSelection) -> DroppedEvents:
    deadline = Deadline.of(app.lambda_context).less(MOVE_RESERVE)
    selection = Selection(asked.code, asked.subscription_id, asked.event_id)
    found, next_cursor = redriving.chosen(selection, asked.ids, asked.cursor, clock.now())
    moved = redriving.drop(found, deadline)
    return DroppedEvents.of(moved, next_cursor)


handler = app.handler
