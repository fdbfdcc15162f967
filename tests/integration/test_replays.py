"""The same event again: answered as it was, whatever happened since; anything else under its id is a conflict."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.api import Api
from tests.ledgers import check, rows

At = Callable[[str], None]
NOON = "2026-11-20T12:00:00Z"


def later_events(api: Api) -> None:
    for number in range(5):
        api.record(f"later-{number}", 30)


def billing(api: Api) -> None:
    assert api.bill().json["itemsCreated"] == 1


def another_quota(api: Api) -> None:
    api.plan(limit=1, price="99.00")


def another_plan(api: Api) -> None:
    api.plan("enterprise", limit=5)
    api.subscribe(plan="enterprise")


def a_pause(api: Api) -> None:
    api.subscribe(status="paused")


def the_end(api: Api) -> None:
    api.subscribe(status="canceled")


def another_cycle(api: Api) -> None:
    api.subscribe(billingAnchorDay=15)


@pytest.mark.parametrize(
    "since", [lambda _: None, later_events, billing, another_quota, another_plan, a_pause, the_end, another_cycle],
    ids=lambda change: change.__name__.strip("<>"),
)  # fmt: skip
@pytest.mark.parametrize("dated", [False, True], ids=["undated", "dated"])
def test_a_replay_answers_what_the_first_answer_said(
    ready: Api, at: At, since: Callable[[Api], None], dated: bool
) -> None:
    at(NOON)
    more = {"occurredAt": "2026-11-20T11:00:00Z"} if dated else {}
    first = ready.record("e1", 60, metadata={"a": 1}, **more)
    since(ready)
    at("2026-11-20T12:10:00Z")
    before = rows("USAGE_TABLE"), rows("USAGE_SUMMARY_TABLE")
    replay = ready.record("e1", 60, metadata={"a": 1}, **more)
    assert (first.status, replay.status) == (201, 200)
    assert replay.json == first.json
    assert (rows("USAGE_TABLE"), rows("USAGE_SUMMARY_TABLE")) == before, "nothing was written"
    check()


@pytest.mark.parametrize(
    "now",
    [
        pytest.param("2026-12-01T00:00:00Z", id="in the next period"),
        pytest.param("2027-11-21T12:00:00.001Z", id="when it is too old to be recorded"),
        pytest.param("2036-01-01T00:00:00Z", id="years later"),
    ],
)
@pytest.mark.parametrize("dated", [False, True], ids=["undated", "dated"])
def test_a_replay_may_come_at_any_time(ready: Api, at: At, now: str, dated: bool) -> None:
    at(NOON)
    first = ready.record("e1", 60, **({"occurredAt": NOON} if dated else {}))
    at(now)
    replay = ready.record("e1", 60, **({"occurredAt": NOON} if dated else {}))
    assert (replay.status, replay.json) == (200, first.json)


def test_a_replay_need_not_say_when_it_occurred(ready: Api, at: At) -> None:
    at(NOON)
    first = ready.record("e1", occurredAt="2026-10-05T00:00:00Z")
    replay = ready.record("e1")
    assert (replay.status, replay.json) == (200, first.json)


def test_a_replay_may_say_when_it_was_first_recorded(ready: Api, at: At) -> None:
    at(NOON)
    first = ready.record("e1")
    replay = ready.record("e1", occurredAt="2026-11-20T13:00:00+01:00")
    assert (replay.status, replay.json) == (200, first.json)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"quantity": 61}, id="quantity"),
        pytest.param({"usageType": "report"}, id="usage type"),
        pytest.param({"occurredAt": "2026-11-20T11:00:00.001Z"}, id="time"),
        pytest.param({"occurredAt": "2026-10-20T11:00:00Z"}, id="time in another period"),
        pytest.param({"metadata": {"a": 2}}, id="metadata"),
        pytest.param({"metadata": {}}, id="no metadata"),
        pytest.param({"metadata": {"a": True}}, id="true is not 1"),
    ],
)
@pytest.mark.parametrize("status", ["active", "canceled"])
def test_another_event_under_the_same_id_is_a_conflict(ready: Api, at: At, change: dict[str, Any], status: str) -> None:
    at(NOON)
    event: dict[str, Any] = {"quantity": 60, "occurredAt": "2026-11-20T11:00:00Z", "metadata": {"a": 1}}
    ready.record("e1", **event)
    ready.subscribe(status=status)
    before = rows("USAGE_TABLE"), rows("USAGE_SUMMARY_TABLE")
    answer = ready.record("e1", **(event | change))
    assert (answer.status, answer.code) == (409, "event_id_conflict")
    assert [fault["field"] for fault in answer.json["errors"]] == list(change)
    assert answer.json["detail"].endswith(f"What differs: {', '.join(change)}.")
    assert (rows("USAGE_TABLE"), rows("USAGE_SUMMARY_TABLE")) == before, "nothing was written"


def test_a_conflict_names_fields_and_no_values(ready: Api) -> None:
    ready.record("e1", 60, occurredAt="2026-11-20T11:00:00Z", metadata={"secret": "recorded"})
    answer = ready.record("e1", 61, occurredAt="2026-11-20T12:00:00Z", metadata={"secret": "reported"})
    assert answer.json["errors"] == [
        {"field": name, "code": "differs", "message": "differs from the recorded event's"}
        for name in ("quantity", "occurredAt", "metadata")
    ]
    for value in ("60", "61", "2026-11", "secret", "recorded'", "reported"):
        assert value not in answer.json["detail"]


def test_a_conflict_in_a_batch_names_the_fields_too(ready: Api) -> None:
    ready.record("e1")
    event = {"eventId": "e1", "userId": "user-1", "subscriptionId": "sub-1", "usageType": "assessment", "quantity": 2}
    [result] = ready.post("/api/usage/batch", {"events": [event]}).json["results"]
    assert [fault["field"] for fault in result["problem"]["errors"]] == ["quantity"]


def test_another_user_under_the_same_id_is_refused_as_not_the_owner(ready: Api) -> None:
    ready.record("e1")
    answer = ready.record("e1", userId="user-2")
    assert (answer.status, answer.code) == (403, "subscription_not_owned")


def test_a_new_event_is_refused_where_a_replay_is_answered(ready: Api, at: At) -> None:
    at(NOON)
    ready.record("e1", occurredAt=NOON)
    ready.subscribe(status="canceled")
    assert ready.record("e1", occurredAt=NOON).status == 200
    assert ready.record("e2", occurredAt=NOON).code == "subscription_inactive"
    ready.subscribe(status="active")
    at("2028-01-01T00:00:00Z")
    assert ready.record("e1", occurredAt=NOON).status == 200
    assert ready.record("e2", occurredAt=NOON).code == "validation_error"


def test_a_number_written_in_another_way_is_the_same_number(ready: Api) -> None:
    body = '{"eventId":"e1","userId":"user-1","subscriptionId":"sub-1","usageType":"assessment","quantity":%s}'
    statuses = [ready.post("/api/usage/record", raw=body % text).status for text in ("2.5", "2.50", "25e-1", "0.25E+1")]
    assert statuses == [201, 200, 200, 200]


def test_an_unrated_event_is_replayed_with_the_terms_its_ledger_got_later(api: Api) -> None:
    api.subscribe()
    first = api.record("e1", 60)
    assert api.record("e1", 60).json == first.json
    api.plan()
    api.bill()
    replay = api.record("e1", 60)
    assert (replay.status, replay.json["billableQuantity"], replay.json["quota"]["limit"]) == (200, 10, 50)
    assert replay.json["recordedAt"] == first.json["recordedAt"]
