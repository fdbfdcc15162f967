"""The limit on usage types per subscription and period. Each one is a ledger that billing has to read."""

import pytest

from tests import ledgers
from tests.api import Answer, Api
from tests.batches import error_codes, send_batch, statuses
from tests.builders import event_body
from tests.clocks import At
from tests.faults import watched
from tests.queue import ASYNC, consume, take_messages
from usage_billing.usage import usage_type_limit


@pytest.fixture
def at_limit(ready: Api, monkeypatch: pytest.MonkeyPatch) -> Api:
    """A subscription with three ledgers in November 2026, which is the limit in these tests."""
    monkeypatch.setattr(usage_type_limit, "MAX_USAGE_TYPES", 3)
    for number in range(3):
        assert ready.record(f"e{number}", usageType=f"t{number}", occurredAt="2026-11-10T00:00:00Z").status == 201
    return ready


def is_rejected(answer: Answer) -> bool:
    return (answer.status, answer.code) == (422, "too_many_usage_types")


def test_the_limit_is_200_usage_types() -> None:
    assert usage_type_limit.MAX_USAGE_TYPES == 200


def test_one_more_usage_type_is_rejected_and_the_others_still_work(at_limit: Api) -> None:
    answer = at_limit.record("new", usageType="t3", occurredAt="2026-11-10T00:00:00Z")
    assert is_rejected(answer)
    assert answer.json["detail"] == (
        "The subscription sub-1 already has 3 usage types in this period, which is the maximum; t3 cannot be added."
    )
    assert at_limit.record("next", usageType="t1", occurredAt="2026-11-10T00:00:00Z").status == 201
    assert len(ledgers.read()) == 3


def test_the_limit_applies_per_period_and_subscription(at_limit: Api) -> None:
    at_limit.subscribe("sub-2")
    assert at_limit.record("a", usageType="t3", occurredAt="2026-10-10T00:00:00Z").status == 201
    assert at_limit.record("b", usageType="t3", subscriptionId="sub-2").status == 201


def test_in_a_batch_events_within_the_limit_are_recorded(at_limit: Api) -> None:
    events = [event_body(f"b{n}", usageType=f"t{n}", occurredAt="2026-11-10T00:00:00Z") for n in range(5)]
    answer = send_batch(at_limit, *events)
    assert statuses(answer) == ["recorded"] * 3 + ["rejected"] * 2
    assert {result["problem"]["code"] for result in answer.json["results"][3:]} == {"too_many_usage_types"}


def test_a_batch_opens_no_more_ledgers_than_the_limit(ready: Api) -> None:
    answer = send_batch(ready, *[event_body(f"b{n}", usageType=f"t{n}") for n in range(250)])
    assert answer.json["totals"] == {"recorded": 200, "replayed": 0, "queued": 0, "rejected": 50}
    assert len(ledgers.read()) == 200


def test_a_subscription_at_the_limit_is_counted_once(at_limit: Api) -> None:
    """A caller who makes up usage types does not cause a query for 200 heads each time."""
    with watched() as calls:
        answer = send_batch(
            at_limit, *[event_body(f"b{n}", usageType=f"new-{n}", occurredAt="2026-11-10T00:00:00Z") for n in range(9)]
        )
        assert answer.json["totals"]["rejected"] == 9
        assert is_rejected(at_limit.record("new", usageType="t3", occurredAt="2026-11-10T00:00:00Z"))
    assert calls.made.count("Query") == 1


def test_at_the_limit_a_replay_is_still_accepted(at_limit: Api, at: At) -> None:
    """An event without a time that is sent again later would belong to another period."""
    at("2026-12-20T00:00:00Z")
    body = {"occurredAt": None}
    for number in range(3):
        assert at_limit.record(f"d{number}", usageType=f"d{number}", **body).status == 201
    assert at_limit.record("e1", usageType="t1", **body).status == 200
    assert is_rejected(at_limit.record("unheard-of", usageType="t1", **body))
    answer = send_batch(
        at_limit, event_body("e1", usageType="t1"), event_body("e2", 2, usageType="t2"), event_body("x", usageType="t0")
    )
    assert error_codes(answer) == [
        None, "event_id_conflict", "too_many_usage_types",
    ]  # fmt: skip


def test_a_queued_event_beyond_the_limit_is_dead_lettered(at_limit: Api, caplog: pytest.LogCaptureFixture) -> None:
    assert at_limit.record("new", usageType="t3", occurredAt="2026-11-10T00:00:00Z", headers=ASYNC).status == 202
    assert consume(take_messages()) == []
    assert len(ledgers.read()) == 3
    [dead] = [record for record in caplog.records if getattr(record, "code", None) == "too_many_usage_types"]
    assert dead.__dict__["event_id"] == "new"
