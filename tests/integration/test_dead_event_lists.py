"""Lists of dead events: filters, pages and cursors."""

import io
from collections.abc import Callable
from typing import Any

import pytest

from tests.api import ADMIN, Answer, Api, bearer
from tests.integration.test_batches import event
from tests.integration.test_consumer import messages
from tests.integration.test_event_queue import consume
from usage_billing.kernel import cursors
from usage_billing.platform import observability

At = Callable[[str], None]
LIST = "/api/usage/dead-events"
ADMINISTRATOR = bearer(*ADMIN)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """The lines of the log as CloudWatch gets them."""
    written = io.StringIO()
    monkeypatch.setattr(observability.logger.registered_handler, "stream", written)
    return written


def listed(api: Api, **query: str) -> list[dict[str, Any]]:
    answer = api.get(LIST, headers=ADMINISTRATOR, query=query or None)
    assert answer.status == 200, answer.text
    found: list[dict[str, Any]] = answer.json["deadEvents"]
    return found


def move(api: Api, verb: str, **choice: Any) -> Answer:
    return api.post(f"{LIST}/{verb}", choice, headers=ADMINISTRATOR)


def die(*events: dict[str, Any]) -> None:
    """Deliver events that cannot be recorded, each in a message of its own."""
    assert consume(messages(*events)) == []


def lost(name: str, quantity: Any = 1, **more: Any) -> dict[str, Any]:
    """An event of a subscription that does not exist."""
    return event(name, quantity, subscriptionId="late", **more)


# --- Listing ------------------------------------------------------------------------------------


def dead_of_three_kinds(api: Api) -> None:
    """Five of a subscription that is missing, two conflicts, and three of a subscription that ended."""
    api.record("c0", 9)
    api.record("c1", 9)
    api.subscribe("ended", status="canceled")
    die(*(lost(f"n{number}") for number in range(5)), event("c0"), event("c1"))
    die(*(event(f"x{number}", subscriptionId="ended") for number in range(3)))


@pytest.mark.parametrize("limit", [1, 2, 3, 10, 100])
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param({}, 10, id="all"),
        pytest.param({"code": "subscription_not_found"}, 5, id="by code"),
        pytest.param({"code": "no_such_code"}, 0, id="by a code that nothing has"),
        pytest.param({"subscriptionId": "ended"}, 3, id="by subscription"),
        pytest.param({"subscriptionId": "late", "code": "event_id_conflict"}, 0, id="by both"),
        pytest.param({"subscriptionId": "late", "eventId": "n3"}, 1, id="by subscription and event id"),
        pytest.param({"eventId": "n3"}, 1, id="by event id"),
        pytest.param({"eventId": "n"}, 0, id="not by the beginning of an event id"),
        pytest.param({"subscriptionId": "late", "eventId": "n"}, 0, id="nor of one in its subscription"),
    ],
)
def test_a_list_has_everything_once_whatever_its_pages(
    ready: Api, limit: int, query: dict[str, str], expected: int
) -> None:
    dead_of_three_kinds(ready)
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        asked = query | cursor | {"limit": str(limit)}
        page = ready.get(LIST, headers=ADMINISTRATOR, query=asked).json
        assert len(page["deadEvents"]) <= limit
        found += [each["id"] for each in page["deadEvents"]]
        if "nextCursor" not in page:
            break
        cursor = {"cursor": page["nextCursor"]}
    assert len(found) == len(set(found)) == expected


@pytest.mark.parametrize("cursor", ["", "x", "WyJhIl0", cursors.encode("a")])
def test_a_cursor_of_nothing_is_refused(ready: Api, cursor: str) -> None:
    answer = ready.get(LIST, headers=ADMINISTRATOR, query={"cursor": cursor or "-"})
    assert (answer.status, answer.json["errors"][0]["field"]) == (422, "cursor")


def test_a_cursor_of_another_list_is_refused(ready: Api) -> None:
    dead_of_three_kinds(ready)
    asked = {"code": "subscription_not_found", "limit": "1"}
    cursor = ready.get(LIST, headers=ADMINISTRATOR, query=asked).json["nextCursor"]
    for other in ({"code": "event_id_conflict"}, {"subscriptionId": "ended"}):
        assert ready.get(LIST, headers=ADMINISTRATOR, query=other | {"cursor": cursor}).status == 422
        assert move(ready, "drop", **other, cursor=cursor).status == 422
    of_subscription = {"subscriptionId": "late", "limit": "1"}
    cursor = ready.get(LIST, headers=ADMINISTRATOR, query=of_subscription).json["nextCursor"]
    assert ready.get(LIST, headers=ADMINISTRATOR, query={"cursor": cursor}).status == 422
    assert (
        ready.get(LIST, headers=ADMINISTRATOR, query=of_subscription | {"eventId": "x", "cursor": cursor}).status == 422
    )
