"""Makes dead events, and lists and moves them as an administrator does."""

from typing import Any

from tests.api import ADMIN, Answer, Api, bearer
from tests.builders import event_body
from tests.queue import consume, queue_messages

DEAD_EVENTS = "/api/usage/dead-events"
ADMINISTRATOR = bearer(*ADMIN)


def orphan_body(event_id: str, quantity: Any = 1, **more: Any) -> dict[str, Any]:
    """The JSON of an event of the subscription `late`, which does not exist."""
    return event_body(event_id, quantity, subscriptionId="late", **more)


def dead_letter(*events: dict[str, Any]) -> None:
    """Deliver events that cannot be recorded, each in a message of its own."""
    assert consume(queue_messages(*events)) == []


def list_dead_events(api: Api, **query: str) -> list[dict[str, Any]]:
    answer = api.get(DEAD_EVENTS, headers=ADMINISTRATOR, query=query or None)
    assert answer.status == 200, answer.text
    found: list[dict[str, Any]] = answer.json["deadEvents"]
    return found


def move(api: Api, verb: str, **selection: Any) -> Answer:
    """Redrive or drop the selected dead events."""
    return api.post(f"{DEAD_EVENTS}/{verb}", selection, headers=ADMINISTRATOR)
