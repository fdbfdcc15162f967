"""Customers who record their own usage: only if the deployment allows it, and without affecting the services."""

from typing import Any

import pytest

from tests.api import Answer, Api, bearer
from tests.batches import send_batch
from tests.builders import event_body
from tests.queue import consume, take_messages
from usage_billing.usage import hot_ledgers

OWNER = bearer("user-1")
RESPOND_ASYNC = {"prefer": "respond-async"}
ASYNC_OWNER = OWNER | RESPOND_ASYNC


def problems(answer: Answer) -> list[tuple[int, str] | None]:
    found = [result["problem"] for result in answer.json["results"]]
    return [problem and (problem["status"], problem["code"]) for problem in found]


def test_a_customer_cannot_use_up_the_id_of_a_services_event(ready: Api) -> None:
    attempts = [
        ready.record("order-4711", 0.000000001, headers=OWNER),
        ready.record("order-4711", 0.000000001, headers=ASYNC_OWNER),
        send_batch(ready, event_body("order-4711", 0.000000001), headers=OWNER),
        send_batch(ready, event_body("order-4711", 0.000000001), headers=ASYNC_OWNER),
    ]
    assert {(answer.status, answer.code) for answer in attempts} == {(403, "forbidden")}
    assert take_messages() == []
    assert ready.record("order-4711", 7).status == 201


def test_ids_of_customers_never_collide_with_ids_of_services(open_api: Api) -> None:
    theirs = open_api.record("order-4711", 0.000000001, headers=OWNER)
    assert (theirs.status, theirs.json["eventId"]) == (201, "customer:order-4711")
    ours = open_api.record("order-4711", 7)
    assert (ours.status, ours.json["eventId"]) == (201, "order-4711")
    assert open_api.record("order-4711", 0.000000001, headers=OWNER).json == theirs.json
    assert open_api.record("order-4711", 7).status == 200


@pytest.mark.parametrize("prefix", ["customer:", "reversal:", "rating:", "closing:"])
@pytest.mark.parametrize("headers", [None, OWNER], ids=["a service", "a customer"])
def test_ids_with_a_reserved_prefix_are_rejected(open_api: Api, prefix: str, headers: dict[str, str] | None) -> None:
    answer = open_api.record(f"{prefix}order-4711", headers=headers)
    assert (answer.status, answer.json["errors"][0]["field"]) == (422, "eventId")
    assert "reserved" in answer.json["errors"][0]["message"]
    by_header = open_api.record(None, headers=(headers or bearer("a", "admin")) | {"idempotency-key": f"{prefix}1"})
    assert (by_header.status, by_header.json["errors"][0]["field"]) == (422, "idempotency-key")
    assert problems(send_batch(open_api, event_body(f"{prefix}1"), headers=headers)) == [(422, "validation_error")]


def test_the_longest_id_of_a_customer_also_works_through_the_queue(open_api: Api) -> None:
    longest = "x" * 128
    assert open_api.record(longest, headers=ASYNC_OWNER).json == {"queued": True, "eventId": f"customer:{longest}"}
    assert consume(take_messages()) == []
    answer = open_api.record(longest, headers=OWNER)
    assert (answer.status, answer.json["eventId"]) == (200, f"customer:{longest}")


def test_customers_record_only_for_their_own_subscriptions(open_api: Api) -> None:
    open_api.subscribe("sub-2", user="user-2")
    assert open_api.record("a", headers=OWNER).status == 201
    for not_owned in ({"subscriptionId": "sub-2"}, {"subscriptionId": "unheard-of"}, {"userId": "user-2"}):
        assert open_api.record("b", headers=OWNER, **not_owned).status == 403
    events = [event_body("c"), event_body("d", subscriptionId="sub-2"), event_body("e", subscriptionId="unheard-of")]
    answer = send_batch(open_api, *events, headers=OWNER)
    assert problems(answer) == [None, (403, "forbidden"), (403, "forbidden")]
    one, other = (open_api.record(subscriptionId=name, headers=bearer("user-2")) for name in ("sub-1", "nothing"))
    assert (one.status, one.text) == (other.status, other.text)


def test_customers_queue_only_for_their_own_subscriptions(open_api: Api) -> None:
    open_api.subscribe("sub-2", user="user-2")
    assert open_api.record("a", headers=ASYNC_OWNER).status == 202
    assert open_api.record("b", subscriptionId="sub-2", headers=ASYNC_OWNER).status == 403
    assert open_api.record("c", userId="user-2", headers=ASYNC_OWNER).status == 403
    assert open_api.record("d", subscriptionId="unheard-of", headers=ASYNC_OWNER).status == 403
    assert len(take_messages()) == 1


def hot(_key: object) -> bool:
    return True


def test_customers_record_only_the_usage_types_of_their_plan(open_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def record_unknown_types(**how: Any) -> list[Any]:
        alone = open_api.record("a", usageType="invented", headers=OWNER | how)
        batch = send_batch(open_api, event_body("b", usageType="invented"), event_body("c"), headers=OWNER | how)
        return [alone.status, *problems(batch)]

    for how in ({}, RESPOND_ASYNC):
        assert record_unknown_types(**how) == [422, (422, "validation_error"), None]
    monkeypatch.setattr(hot_ledgers, "is_hot", hot)
    assert record_unknown_types() == [422, (422, "validation_error"), None]
    refused = open_api.record("a", usageType="invented", headers=OWNER)
    assert refused.json["errors"] == [
        {"field": "usageType", "code": "not_in_plan", "message": "must be a usage type of the plan"}
    ]
    assert open_api.record("a", usageType="invented").status == 202, "a service may record it before there is a quota"


def test_a_customers_event_is_still_a_replay_after_a_plan_change(open_api: Api) -> None:
    first = open_api.record("a", headers=OWNER)
    open_api.plan("other", "report")
    open_api.subscribe(plan="other")
    assert open_api.record("b", headers=OWNER).status == 422
    again = open_api.record("a", headers=OWNER)
    assert (again.status, again.json) == (200, first.json)


def test_without_time_to_check_the_subscription_nothing_is_queued(open_api: Api) -> None:
    answer = open_api.post("/api/usage/record", event_body("a"), headers=OWNER, seconds=6)
    assert (answer.status, answer.code) == (503, "database_unavailable")
    assert take_messages() == []


def test_without_time_to_check_the_plan_nothing_is_queued(open_api: Api) -> None:
    assert open_api.record("a", headers=OWNER).status == 201
    answer = open_api.record("b", headers=ASYNC_OWNER)
    assert answer.status == 202
    answer = open_api.post("/api/usage/record", event_body("c"), headers=ASYNC_OWNER, seconds=6)
    assert (answer.status, answer.code) == (503, "database_unavailable")
    assert len(take_messages()) == 1
