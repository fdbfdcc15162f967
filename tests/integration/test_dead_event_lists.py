"""Lists of dead events: filters, pages and cursors."""

import pytest

from tests.api import Api
from tests.builders import event_body
from tests.dead_events import ADMINISTRATOR, DEAD_EVENTS, dead_letter, move, orphan_body
from usage_billing.kernel import cursors


def dead_of_three_kinds(api: Api) -> None:
    """Five events of a missing subscription, two conflicts, and three events of a canceled subscription."""
    api.record("c0", 9)
    api.record("c1", 9)
    api.subscribe("ended", status="canceled")
    dead_letter(*(orphan_body(f"n{number}") for number in range(5)), event_body("c0"), event_body("c1"))
    dead_letter(*(event_body(f"x{number}", subscriptionId="ended") for number in range(3)))


@pytest.mark.parametrize("limit", [1, 2, 3, 10, 100])
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param({}, 10, id="all"),
        pytest.param({"code": "subscription_not_found"}, 5, id="by code"),
        pytest.param({"code": "no_such_code"}, 0, id="by a code without events"),
        pytest.param({"subscriptionId": "ended"}, 3, id="by subscription"),
        pytest.param({"subscriptionId": "late", "code": "event_id_conflict"}, 0, id="by both"),
        pytest.param({"subscriptionId": "late", "eventId": "n3"}, 1, id="by subscription and event id"),
        pytest.param({"eventId": "n3"}, 1, id="by event id"),
        pytest.param({"eventId": "n"}, 0, id="by the beginning of an event id"),
        pytest.param(
            {"subscriptionId": "late", "eventId": "n"}, 0, id="by subscription and the beginning of an event id"
        ),
    ],
)
def test_a_list_has_each_event_once_for_every_page_size(
    ready: Api, limit: int, query: dict[str, str], expected: int
) -> None:
    dead_of_three_kinds(ready)
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page_query = query | cursor | {"limit": str(limit)}
        page = ready.get(DEAD_EVENTS, headers=ADMINISTRATOR, query=page_query).json
        assert len(page["deadEvents"]) <= limit
        found += [each["id"] for each in page["deadEvents"]]
        if "nextCursor" not in page:
            break
        cursor = {"cursor": page["nextCursor"]}
    assert len(found) == len(set(found)) == expected


@pytest.mark.parametrize("cursor", ["", "x", "WyJhIl0", cursors.encode("a")])
def test_an_invalid_cursor_is_422(ready: Api, cursor: str) -> None:
    answer = ready.get(DEAD_EVENTS, headers=ADMINISTRATOR, query={"cursor": cursor or "-"})
    assert (answer.status, answer.json["errors"][0]["field"]) == (422, "cursor")


def test_a_cursor_of_another_list_is_422(ready: Api) -> None:
    dead_of_three_kinds(ready)
    page_query = {"code": "subscription_not_found", "limit": "1"}
    cursor = ready.get(DEAD_EVENTS, headers=ADMINISTRATOR, query=page_query).json["nextCursor"]
    for other in ({"code": "event_id_conflict"}, {"subscriptionId": "ended"}):
        assert ready.get(DEAD_EVENTS, headers=ADMINISTRATOR, query=other | {"cursor": cursor}).status == 422
        assert move(ready, "drop", **other, cursor=cursor).status == 422
    of_subscription = {"subscriptionId": "late", "limit": "1"}
    cursor = ready.get(DEAD_EVENTS, headers=ADMINISTRATOR, query=of_subscription).json["nextCursor"]
    assert ready.get(DEAD_EVENTS, headers=ADMINISTRATOR, query={"cursor": cursor}).status == 422
    assert (
        ready.get(DEAD_EVENTS, headers=ADMINISTRATOR, query=of_subscription | {"eventId": "x", "cursor": cursor}).status
        == 422
    )
