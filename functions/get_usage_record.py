"""GET /api/usage/subscription/{subscriptionId}/records/{eventId}: one event, recorded or dead."""

from urllib.parse import unquote

from usage_billing.access.callers import ANY_ROLE, OPERATORS
from usage_billing.kernel.errors import EventNotFound, SubscriptionNotFound
from usage_billing.statements.api import RecordedEvent, UnrecordedEvent
from usage_billing.statements.records import record
from usage_billing.subscriptions import store as subscription_store
from usage_billing.usage.dead_events import store as dead_event_store
from usage_billing.web.parameters import PathEventId, PathIdentifier
from usage_billing.web.resolver import Api

app = Api()


@app.get(
    "/api/usage/subscription/<subscription_id>/records/<event_id>",
    allow=ANY_ROLE,
    raises=[SubscriptionNotFound, EventNotFound],
)
def get_usage_record(subscription_id: PathIdentifier, event_id: PathEventId) -> RecordedEvent | UnrecordedEvent:
    is_operator = app.caller.role in OPERATORS
    # Operators may look up events of a missing subscription, since that is a reason why events are dead.
    owner = None
    if not is_operator:
        owner = app.caller.load_if_allowed(lambda: subscription_store.subscription(subscription_id)).user_id
    # API Gateway cuts the path at a decoded `?`, so callers encode such an id twice.
    for name in dict.fromkeys([event_id, unquote(event_id)]):
        if recorded := record(subscription_id, name):
            return RecordedEvent.of(recorded)
        for dead in dead_event_store.of_event(subscription_id, name):
            # The subscription's owner must not see an event that was reported for another user.
            if is_operator or dead.user_id == owner:
                return UnrecordedEvent.of(dead)
    if is_operator:
        subscription_store.subscription(subscription_id)  # raises SubscriptionNotFound
    raise EventNotFound(f"No event {event_id} is recorded for this subscription. It may still be in the queue.")


handler = app.handler
