"""Customers that report their own usage: only where the deployment lets them, and never in the way of our services."""

from typing import Any

import pytest

from tests.api import Answer, Api, bearer
from tests.integration.test_batch import event, send
from tests.integration.test_queue import consume, received
from usage_billing.platform import caches
from usage_billing.usage import hot_ledgers

OWNER = bearer("user-1")
ASYNC = {"prefer": "respond-async"}
ASYNC_OWNER = OWNER | ASYNC


@pytest.fixture
def open_(ready: Api, monkeypatch: pytest.MonkeyPatch) -> Api:
    """The same as `ready`, in a deployment whose customers may record."""
    monkeypatch.setenv("CUSTOMERS_MAY_RECORD", "true")
    caches.clear_all()
    return ready


def problems(answer: Answer) -> list[tuple[int, str] | None]:
    found = [result["problem"] for result in answer.json["results"]]
    return [problem and (problem["status"], problem["code"]) for problem in found]


def test_a_customer_cannot_take_the_id_of_a_services_event(ready: Api) -> None:
    attempts = [
        ready.record("order-4711", 0.000000001, headers=OWNER),
        ready.record("order-4711", 0.000000001, headers=ASYNC_OWNER),
        send(ready, event("order-4711", 0.000000001), headers=OWNER),
        send(ready, event("order-4711", 0.000000001), headers=ASYNC_OWNER),
    ]
    assert {(answer.status, answer.code) for answer in attempts} == {(403, "forbidden")}
    assert received() == []
    assert ready.record("order-4711", 7).status == 201


def test_customers_ids_and_services_ids_are_never_the_same(open_: Api) -> None:
    theirs = open_.record("order-4711", 0.000000001, headers=OWNER)
    assert (theirs.status, theirs.json["eventId"]) == (201, "customer:order-4711")
    ours = open_.record("order-4711", 7)
    assert (ours.status, ours.json["eventId"]) == (201, "order-4711")
    assert open_.record("order-4711", 0.000000001, headers=OWNER).json == theirs.json
    assert open_.record("order-4711", 7).status == 200


@pytest.mark.parametrize("prefix", ["customer:", "reversal:", "rating:", "closing:"])
@pytest.mark.parametrize("headers", [None, OWNER], ids=["a service", "a customer"])
def test_nobody_can_choose_an_id_of_ours(open_: Api, prefix: str, headers: dict[str, str] | None) -> None:
    answer = open_.record(f"{prefix}order-4711", headers=headers)
    assert (answer.status, answer.json["errors"][0]["field"]) == (422, "eventId")
    assert "reserved" in answer.json["errors"][0]["message"]
    by_header = open_.record(None, headers=(headers or bearer("a", "admin")) | {"idempotency-key": f"{prefix}1"})
    assert (by_header.status, by_header.json["errors"][0]["field"]) == (422, "idempotency-key")
    assert problems(send(open_, event(f"{prefix}1"), headers=headers)) == [(422, "validation_error")]


def test_the_longest_id_of_a_customer_is_recorded_through_the_queue_too(open_: Api) -> None:
    longest = "x" * 128
    assert open_.record(longest, headers=ASYNC_OWNER).json == {"queued": True, "eventId": f"customer:{longest}"}
    assert consume(received()) == []
    answer = open_.record(longest, headers=OWNER)
    assert (answer.status, answer.json["eventId"]) == (200, f"customer:{longest}")


def test_a_customer_records_only_what_is_theirs(open_: Api) -> None:
    open_.subscribe("sub-2", user="user-2")
    assert open_.record("a", headers=OWNER).status == 201
    for other in ({"subscriptionId": "sub-2"}, {"subscriptionId": "unheard-of"}, {"userId": "user-2"}):
        assert open_.record("b", headers=OWNER, **other).status == 403
    answer = send(open_, event("c"), event("d", subscriptionId="sub-2"), event("e", subscriptionId="unheard-of"),
                  headers=OWNER)  # fmt: skip
    assert problems(answer) == [None, (403, "forbidden"), (403, "forbidden")]
    one, other = (open_.record(subscriptionId=name, headers=bearer("user-2")) for name in ("sub-1", "nothing"))
    assert (one.status, one.text) == (other.status, other.text)


def test_a_customer_queues_only_what_is_theirs(open_: Api) -> None:
    open_.subscribe("sub-2", user="user-2")
    assert open_.record("a", headers=ASYNC_OWNER).status == 202
    assert open_.record("b", subscriptionId="sub-2", headers=ASYNC_OWNER).status == 403
    assert open_.record("c", userId="user-2", headers=ASYNC_OWNER).status == 403
    assert open_.record("d", subscriptionId="unheard-of", headers=ASYNC_OWNER).status == 403
    assert len(received()) == 1


def hot(_key: object) -> bool:
    return True


def test_a_customer_records_only_the_usage_types_of_their_plan(open_: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def invented(**how: Any) -> list[Any]:
        alone = open_.record("a", usageType="invented", headers=OWNER | how)
        batch = send(open_, event("b", usageType="invented"), event("c"), headers=OWNER | how)
        return [alone.status, *problems(batch)]

    for how in ({}, ASYNC):
        assert invented(**how) == [422, (422, "validation_error"), None]
    monkeypatch.setattr(hot_ledgers, "is_hot", hot)
    assert invented() == [422, (422, "validation_error"), None]
    refused = open_.record("a", usageType="invented", headers=OWNER)
    assert refused.json["errors"] == [
        {"field": "usageType", "code": "not_in_plan", "message": "must be a usage type of the plan"}
    ]
    assert open_.record("a", usageType="invented").status == 202, "a service may, and waits for the quota"


def test_what_a_customer_recorded_stays_recorded_when_their_plan_changes(open_: Api) -> None:
    first = open_.record("a", headers=OWNER)
    open_.plan("other", "report")
    open_.subscribe(plan="other")
    assert open_.record("b", headers=OWNER).status == 422
    again = open_.record("a", headers=OWNER)
    assert (again.status, again.json) == (200, first.json)


def test_a_subscription_that_there_was_no_time_to_look_at_queues_nothing(open_: Api) -> None:
    answer = open_.post("/api/usage/record", event("a"), headers=OWNER, seconds=6)
    assert (answer.status, answer.code) == (503, "database_unavailable")
    assert received() == []


def test_a_plan_that_there_was_no_time_to_look_at_queues_nothing(open_: Api) -> None:
    assert open_.record("a", headers=OWNER).status == 201
    answer = open_.record("b", headers=ASYNC_OWNER)
    assert answer.status == 202
    answer = open_.post("/api/usage/record", event("c"), headers=ASYNC_OWNER, seconds=6)
    assert (answer.status, answer.code) == (503, "database_unavailable")
    assert len(received()) == 1
