"""Recording usage: the response, who may record, the range of times, and the quota that applies."""

from decimal import Decimal
from typing import Any

import pytest

from tests import ledgers
from tests.api import INTERNAL, Api, bearer
from tests.clocks import At

NOON = "2026-11-20T12:00:00Z"


def test_every_field_of_the_response(ready: Api, at: At) -> None:
    at(NOON)
    ready.record("e1", 45)
    answer = ready.record("e2", Decimal("15.5"), occurredAt="2026-11-20T12:30:00+01:00", metadata={"report": "r-1"})
    assert answer.status == 201
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json == {
        "eventId": "e2",
        "userId": "user-1",
        "subscriptionId": "sub-1",
        "usageType": "assessment",
        "quantity": Decimal("15.5"),
        "occurredAt": "2026-11-20T11:30:00Z",
        "recordedAt": NOON,
        "sequence": 2,
        "billable": True,
        "billableQuantity": Decimal("10.5"),
        "quota": {
            "limit": 50,
            "used": Decimal("60.5"),
            "remaining": 0,
            "exceeded": True,
            "unitName": "assessment",
            "periodStart": "2026-11-01T00:00:00Z",
            "periodEnd": "2026-12-01T00:00:00Z",
        },
    }


@pytest.mark.parametrize(
    ("quantity", "billable", "remaining", "exceeded"),
    [
        pytest.param(1, 0, 49, False, id="the first unit"),
        pytest.param(50, 0, 0, False, id="exactly the limit"),
        pytest.param(51, 1, 0, True, id="the first unit beyond it"),
        pytest.param(Decimal("50.000000001"), Decimal("0.000000001"), 0, True, id="the smallest fraction beyond it"),
    ],
)
def test_exactly_the_quantity_beyond_the_limit_is_billable(
    ready: Api, quantity: Any, billable: Any, remaining: int, exceeded: bool
) -> None:
    answer = ready.record(quantity=quantity).json
    assert (answer["billable"], answer["billableQuantity"]) == (billable > 0, billable)
    assert (answer["quota"]["remaining"], answer["quota"]["exceeded"]) == (remaining, exceeded)


def test_an_event_without_a_time_occurred_when_it_arrived(ready: Api, at: At) -> None:
    at("2026-11-20T12:00:00.123Z")
    answer = ready.record().json
    assert answer["occurredAt"] == answer["recordedAt"] == "2026-11-20T12:00:00.123Z"


def test_without_an_event_id_every_request_counts(ready: Api) -> None:
    one, other = ready.record(None), ready.record(None)
    assert (one.status, other.status) == (201, 201)
    assert one.json["eventId"] != other.json["eventId"]
    assert other.json["quota"]["used"] == 2


def test_the_idempotency_key_is_the_event_id(ready: Api) -> None:
    headers = INTERNAL | {"Idempotency-Key": "from-the-header"}
    first = ready.record(None, headers=headers)
    assert (first.status, first.json["eventId"]) == (201, "from-the-header")
    assert ready.record(None, headers=headers).status == 200
    assert ready.record("from-the-header").status == 200


def test_the_idempotency_key_may_repeat_the_event_id(ready: Api) -> None:
    assert ready.record("e1", headers=INTERNAL | {"idempotency-key": "e1"}).status == 201


def test_an_idempotency_key_that_differs_from_the_event_id_is_a_contradiction(ready: Api) -> None:
    answer = ready.record("e1", headers=INTERNAL | {"idempotency-key": "e2"})
    assert (answer.status, answer.code) == (422, "validation_error")
    assert [(error["field"], error["code"]) for error in answer.json["errors"]] == [("eventId", "contradiction")]
    assert ledgers.read() == []


@pytest.mark.parametrize("key", ["a b", "x" * 129, "ä"])
def test_an_idempotency_key_that_is_not_a_valid_event_id_is_422(ready: Api, key: str) -> None:
    answer = ready.record(None, headers=INTERNAL | {"idempotency-key": key})
    assert answer.status == 422
    assert [error["field"].lower() for error in answer.json["errors"]] == ["idempotency-key"]


def test_event_ids_are_unique_per_subscription(ready: Api) -> None:
    ready.subscribe("sub-2")
    assert ready.record("e1", 1).status == 201
    assert ready.record("e1", 2, subscriptionId="sub-2").status == 201
    assert ready.record("e1", 2).code == "event_id_conflict"


def test_api_keys_services_and_admins_can_record(ready: Api) -> None:
    for number, headers in enumerate([INTERNAL, bearer("service-1", "internal"), bearer("admin-1", "admin")], 1):
        answer = ready.record(f"e{number}", headers=headers)
        assert (answer.status, answer.json["userId"], answer.json["sequence"]) == (201, "user-1", number)


@pytest.mark.parametrize("headers", [INTERNAL, bearer("admin-1", "admin")], ids=["key", "admin"])
def test_an_event_for_another_users_subscription_is_403(ready: Api, headers: dict[str, str]) -> None:
    answer = ready.record(userId="user-2", headers=headers)
    assert (answer.status, answer.code) == (403, "subscription_not_owned")
    assert ledgers.read() == []


def test_an_unknown_subscription_is_not_cached(api: Api) -> None:
    api.plan()
    assert api.record().code == "subscription_not_found"
    api.subscribe()
    assert api.record().status == 201


@pytest.mark.parametrize(
    ("occurred_at", "status"),
    [
        pytest.param("2025-11-19T12:00:00Z", 201, id="366 days ago"),
        pytest.param("2025-11-19T11:59:59.999Z", 422, id="one millisecond too old"),
        pytest.param("2026-11-20T12:15:00Z", 201, id="15 minutes ahead"),
        pytest.param("2026-11-20T12:15:00.001Z", 422, id="one millisecond too far ahead"),
        pytest.param("2027-11-20T12:00:00Z", 422, id="next year"),
        pytest.param("0001-01-01T00:00:00Z", 422, id="the first instant"),
        pytest.param("9999-12-31T23:59:59Z", 422, id="the last second"),
    ],
)
def test_the_range_of_occurred_at(ready: Api, at: At, occurred_at: str, status: int) -> None:
    at(NOON)
    answer = ready.record(occurredAt=occurred_at)
    assert answer.status == status
    if status == 422:
        [error] = answer.json["errors"]
        assert (error["field"], error["code"]) == ("occurredAt", "out_of_range")
        assert "366 days" in error["message"]
        assert "15 minutes" in error["message"]


@pytest.mark.parametrize(
    ("anchor", "occurred_at", "start", "end"),
    [
        pytest.param(1, "2026-11-01T00:00:00Z", "2026-11-01", "2026-12-01", id="the first instant of a period"),
        pytest.param(1, "2026-10-31T23:59:59.999999Z", "2026-10-01", "2026-11-01", id="the last instant of a period"),
        pytest.param(1, "2026-11-01T00:30:00+01:00", "2026-10-01", "2026-11-01", id="periods are in UTC"),
        pytest.param(15, "2026-11-14T23:59:59Z", "2026-10-15", "2026-11-15", id="another anchor day"),
        pytest.param(31, "2026-03-01T00:00:00Z", "2026-02-28", "2026-03-31", id="the last day of a short month"),
    ],
)
def test_an_event_counts_in_the_period_in_which_it_occurred(
    api: Api, at: At, *, anchor: int, occurred_at: str, start: str, end: str
) -> None:
    at(NOON)
    api.plan()
    api.subscribe(billingAnchorDay=anchor)
    quota = api.record(occurredAt=occurred_at).json["quota"]
    assert (quota["periodStart"], quota["periodEnd"]) == (f"{start}T00:00:00Z", f"{end}T00:00:00Z")
    usage = api.get("/api/usage/subscription/sub-1", query={"period": start}).json
    assert (usage["periodStart"], usage["usage"][0]["used"]) == (f"{start}T00:00:00Z", 1)


def test_every_period_and_usage_type_has_a_full_quota(ready: Api, at: At) -> None:
    ready.plan(usage_type="report", limit=5)
    at("2026-11-30T23:59:59Z")
    assert ready.record("e1", 50).json["quota"]["remaining"] == 0
    assert ready.record("e2", 1, usageType="report").json["quota"]["remaining"] == 4
    at("2026-12-01T00:00:00Z")
    assert ready.record("e3", 1).json["quota"]["remaining"] == 49


@pytest.mark.parametrize("status", ["paused", "canceled"])
def test_new_usage_of_an_inactive_subscription_is_409(ready: Api, status: str) -> None:
    ready.subscribe(status=status)
    answer = ready.record()
    assert (answer.status, answer.code) == (409, "subscription_inactive")
    ready.subscribe(status="active")
    assert ready.record().status == 201


def test_a_changed_quota_takes_effect_in_the_next_period(ready: Api, at: At) -> None:
    at("2096-11-20T12:00:00Z")
    ready.record("e1", 40)
    ready.plan(limit=10, price="99.00")
    assert ready.record("e2", 15).json["billableQuantity"] == 5
    at("2096-12-01T00:00:00Z")
    answer = ready.record("e3", 15).json
    assert (answer["quota"]["limit"], answer["billableQuantity"]) == (10, 5)


def test_a_plan_change_within_a_period_keeps_the_terms_of_open_ledgers(ready: Api) -> None:
    ready.plan("enterprise", limit=1000, price="1.00")
    ready.plan("enterprise", "report", limit=7, price="1.00")
    ready.record("e1", 60)
    ready.subscribe(plan="enterprise")
    assert ready.record("e2", 1).json["quota"]["limit"] == 50
    assert ready.record("e3", 1, usageType="report").json["quota"]["limit"] == 7
    assert ready.bill().json["totals"] == {"USD": "110.00"}


UNRATED = {"limit": None, "remaining": None, "exceeded": None, "unitName": None}


def test_usage_without_a_quota_is_recorded_and_rated_by_the_next_event(api: Api) -> None:
    api.subscribe()
    first = api.record("e1", 30)
    assert first.status == 201
    assert (first.json["billable"], first.json["billableQuantity"]) == (None, None)
    assert {name: first.json["quota"][name] for name in UNRATED} == UNRATED
    assert first.json["quota"]["used"] == 30
    assert api.bill().json["ledgersUnrated"] == 1
    api.plan()
    second = api.record("e2", 30)
    assert second.json["billableQuantity"] == 10
    assert second.json["quota"] | {"periodStart": 0, "periodEnd": 0} == {
        "limit": 50, "used": 60, "remaining": 0, "exceeded": True, "unitName": "assessment",
        "periodStart": 0, "periodEnd": 0,
    }  # fmt: skip
    run = api.bill().json
    assert (run["totals"], run["ledgersUnrated"]) == ({"USD": "100.00"}, 0)
    records = api.get("/api/usage/subscription/sub-1/records").json["records"]
    assert [record["billableQuantity"] for record in records] == [0, 10]


def test_usage_without_a_quota_is_rated_by_the_next_run(api: Api) -> None:
    api.subscribe()
    for number in range(3):
        api.record(f"e{number}", 25)
    api.plan()
    assert api.bill().json["totals"] == {"USD": "250.00"}
    records = api.get("/api/usage/subscription/sub-1/records").json["records"]
    assert [record["billableQuantity"] for record in records] == [0, 0, 25]
    assert all(record["processed"] for record in records)
    [usage] = api.get("/api/usage/subscription/sub-1").json["usage"]
    assert (usage["billableQuantity"], usage["billedQuantity"], usage["charge"]) == (25, 25, "250.00")


def test_metadata_reads_back_as_it_was_sent(ready: Api) -> None:
    metadata = {"tags": ["a", None, True], "ratio": Decimal("0.30"), "名": {"deep": "ä"}}
    assert ready.record(metadata=metadata | {"ratio": 0.25}).status == 201
    [record] = ready.get("/api/usage/subscription/sub-1/records").json["records"]
    assert record["metadata"] == metadata | {"ratio": Decimal("0.25")}
