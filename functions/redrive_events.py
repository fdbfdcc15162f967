"""POST /api/usage/dead-events/redrive: move dead events back to the queue, by id or by filter."""

from usage_billing.access.callers import ADMINS
from usage_billing.platform import clock
from usage_billing.platform.deadline import MOVE_RESERVE, Deadline
from usage_billing.usage.dead_events import redriving
from usage_billing.usage.dead_events.api import MAX_SELECTION_BYTES, DeadEventSelection, RedrivenEvents
from usage_billing.usage.dead_events.model import Selection
from usage_billing.web.resolver import Api

app = Api()


@app.post("/api/usage/dead-events/redrive", allow=ADMINS, max_bytes=MAX_SELECTION_BYTES)
def redrive_events(body: DeadEventSelection) -> RedrivenEvents:
    deadline = Deadline.of(app.lambda_context).less(MOVE_RESERVE)
    selection = Selection(body.code, body.subscription_id, body.event_id)
    found, next_cursor = redriving.select(selection, body.ids, body.cursor, clock.now())
    removal = redriving.redrive(found, deadline)
    return RedrivenEvents.of(removal, next_cursor)


handler = app.handler
