"""Setting and reading subscriptions."""

from typing import Any

import pytest

from tests.api import Api, invalid_fields
from tests.builders import subscription_body

SUBSCRIPTION = subscription_body()
SUBSCRIPTION_PATH = "/api/subscriptions/sub-1"


def test_a_subscription_reads_back_as_it_was_put(api: Api) -> None:
    body = SUBSCRIPTION | {"status": "paused", "billingAnchorDay": 31}
    put = api.put(SUBSCRIPTION_PATH, body)
    assert (put.status, put.json) == (200, {"subscriptionId": "sub-1"} | body)
    assert api.get(SUBSCRIPTION_PATH).json == put.json
    assert api.put(SUBSCRIPTION_PATH, put.json).json == put.json


def test_a_subscription_is_active_with_anchor_day_1_by_default(api: Api) -> None:
    answer = api.put(SUBSCRIPTION_PATH, SUBSCRIPTION).json
    assert (answer["status"], answer["billingAnchorDay"]) == ("active", 1)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        pytest.param({"billingAnchorDay": 0}, "billingAnchorDay", id="day 0"),
        pytest.param({"billingAnchorDay": 32}, "billingAnchorDay", id="day 32"),
        pytest.param({"billingAnchorDay": True}, "billingAnchorDay", id="day true"),
        pytest.param({"billingAnchorDay": "1"}, "billingAnchorDay", id="day as string"),
        pytest.param({"billingAnchorDay": 1.5}, "billingAnchorDay", id="half a day"),
        pytest.param({"status": "trial"}, "status", id="unknown status"),
        pytest.param({"status": "ACTIVE"}, "status", id="status in upper case"),
        pytest.param({"userId": None}, "userId", id="no user"),
        pytest.param({"planId": "a/b"}, "planId", id="plan with a slash"),
        pytest.param({"subscriptionId": "sub-2"}, "subscriptionId", id="another id than in the path"),
        pytest.param({"seats": 5}, "seats", id="unknown field"),
    ],
)
def test_an_invalid_subscription_is_rejected_and_not_stored(api: Api, change: dict[str, Any], field: str) -> None:
    assert invalid_fields(api.put(SUBSCRIPTION_PATH, SUBSCRIPTION | change)) == [field]
    assert api.get(SUBSCRIPTION_PATH).code == "subscription_not_found"


def test_the_user_of_a_subscription_cannot_be_changed(api: Api) -> None:
    api.put(SUBSCRIPTION_PATH, SUBSCRIPTION)
    answer = api.put(SUBSCRIPTION_PATH, SUBSCRIPTION | {"userId": "user-2", "status": "canceled"})
    assert (answer.status, answer.code) == (409, "subscription_user_fixed")
    assert api.get(SUBSCRIPTION_PATH).json["status"] == "active"


def test_the_next_event_sees_a_changed_subscription(ready: Api) -> None:
    assert ready.record("e1").status == 201
    ready.subscribe(status="paused")
    assert ready.record("e2").status == 409
