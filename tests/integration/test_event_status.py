"""Looking up one event: recorded, dead and why, or unknown."""

from typing import Any
from urllib.parse import quote, unquote

import pytest

from tests.api import Answer, Api, bearer
from tests.builders import event_body
from tests.clocks import At
from tests.dead_events import ADMINISTRATOR, dead_letter, move, orphan_body
from tests.queue import ASYNC, consume, take_messages


def look_up(api: Api, event_id: str, subscription: str = "sub-1", **kwargs: Any) -> Answer:
    return api.get(f"/api/usage/subscription/{subscription}/records/{event_id}", **kwargs)


def test_a_recorded_event_has_the_same_fields_as_in_the_list_of_records(ready: Api) -> None:
    ready.record("a", 40)
    ready.record("b", 20, metadata={"n": 1})
    ready.bill()
    ready.record("c", 20)
    records = {each["eventId"]: each for each in ready.get("/api/usage/subscription/sub-1/records").json["records"]}
    assert records["b"]["invoiceItemId"]
    for name, record in records.items():
        for headers in (None, bearer("user-1"), ADMINISTRATOR):
            answer = look_up(ready, name, headers=headers)
            assert (answer.status, answer.json) == (200, {"status": "recorded"} | record)


def test_the_owner_sees_why_an_event_is_dead_but_not_its_content(ready: Api) -> None:
    ready.subscribe(status="paused")
    dead_letter(event_body("a", metadata={"secret": 1}))
    for headers in (None, bearer("user-1"), ADMINISTRATOR):
        answer = look_up(ready, "a", headers=headers)
        assert answer.status == 200
        assert answer.json["status"] == "dead"
        assert answer.json["code"] == "subscription_inactive"
        assert answer.json["detail"] == "The subscription sub-1 is paused."
        assert set(answer.json) == {
            "status",
            "eventId",
            "subscriptionId",
            "code",
            "detail",
            "deadAt",
            "lastDeadAt",
            "attempts",
        }


def test_operators_can_look_up_an_event_whose_subscription_does_not_exist(ready: Api) -> None:
    dead_letter(orphan_body("a"))
    for headers in (None, ADMINISTRATOR):
        answer = look_up(ready, "a", "late", headers=headers)
        assert (answer.status, answer.json["status"], answer.json["code"]) == (200, "dead", "subscription_not_found")
        nothing = look_up(ready, "b", "late", headers=headers)
        assert (nothing.status, nothing.code) == (404, "subscription_not_found")
        known = look_up(ready, "b", headers=headers)
        assert (known.status, known.code) == (404, "event_not_found")
    assert look_up(ready, "a", "late", headers=bearer("user-1")).code == "forbidden", (
        "the event names the user, but the subscription is not theirs"
    )


def test_the_owner_cannot_see_an_event_that_names_another_user(ready: Api) -> None:
    dead_letter(event_body("a", userId="user-2"))
    assert look_up(ready, "a").json["code"] == "subscription_not_owned"
    assert look_up(ready, "a", headers=bearer("user-1")).code == "event_not_found"
    assert look_up(ready, "a", headers=bearer("user-2")).status == 403


def test_of_several_dead_events_with_one_id_the_latest_is_shown(ready: Api, at: At) -> None:
    at("2026-11-20T12:00:00Z")
    ready.subscribe(status="paused")
    dead_letter(event_body("a", 1))
    at("2026-11-20T13:00:00Z")
    dead_letter(event_body("a", 2))
    assert look_up(ready, "a").json["deadAt"] == "2026-11-20T13:00:00Z"


def test_a_recorded_event_is_shown_even_if_another_with_its_id_is_dead(ready: Api) -> None:
    ready.record("a", 3)
    dead_letter(event_body("a", 4))
    assert (look_up(ready, "a").json["status"], look_up(ready, "a").json["quantity"]) == ("recorded", 3)


def test_a_queued_event_is_not_found_until_it_is_recorded(ready: Api) -> None:
    ready.record("a", headers=ASYNC)
    answer = look_up(ready, "a")
    assert (answer.status, answer.code) == (404, "event_not_found")
    assert "queue" in answer.json["detail"]
    assert consume(take_messages()) == []
    assert look_up(ready, "a").json["status"] == "recorded"


ODD = [
    "a/b",
    "a//b",
    "/",
    "50%",
    "%2F",
    "a%2Fb",
    "a?b=c",
    "https://host/path?x=1#y",
    '"',
    "<>[]{}|^`\\",
    "#",
    "+",
    "~",
    "a:b",
]


@pytest.mark.parametrize("name", ODD)
def test_an_event_id_of_any_characters_is_found_by_the_path_that_api_gateway_passes_on(ready: Api, name: str) -> None:
    """An HTTP API decodes every escape in a path except `%25`, and cuts the path at a decoded `?`."""
    assert ready.record(name).status == 201
    encoded = quote(quote(name, safe=""), safe="") if "?" in name else quote(name, safe="")
    passed_on = encoded.replace("%25", "\0")
    passed_on = unquote(passed_on).replace("\0", "%25")
    assert "?" not in passed_on
    path = f"/api/usage/subscription/sub-1/records/{passed_on}"
    answer = ready.get("/api/usage/subscription/sub-1/records/x", raw_path=path)
    assert (answer.status, answer.json.get("eventId")) == (200, name)


def test_during_a_redrive_an_event_is_dead_or_unknown_or_recorded(ready: Api) -> None:
    """The lookup never fails, and never shows two states at once."""
    dead_letter(orphan_body("a"))
    ready.subscribe("late")
    assert look_up(ready, "a", "late").json["status"] == "dead"
    move(ready, "redrive", subscriptionId="late")
    assert look_up(ready, "a", "late").code == "event_not_found"
    consume(take_messages())
    assert look_up(ready, "a", "late").json["status"] == "recorded"
