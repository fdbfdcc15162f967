"""Rejected events: each is counted by its code and logged with its ids, but without its content."""

import logging
from typing import Any

import pytest

import consume_usage
import run_billing
from tests.api import INTERNAL, Api, Context, bearer
from tests.batches import send_batch
from tests.builders import event_body
from tests.cloud import SCOPED_KEYS
from tests.faults import timed_out
from tests.logs import log_records
from tests.metrics import Metrics
from tests.queue import ASYNC, consume, take_messages
from usage_billing.billing import store as settlement_store
from usage_billing.subscriptions import store as subscription_store
from usage_billing.usage import intake, rejections
from usage_billing.usage import store as ledger_store
from usage_billing.usage.api import MAX_BATCH_BYTES

SECRET = "nobody's business"
READER = {"x-api-key": SCOPED_KEYS["read"]}
CUSTOMER = bearer("user-1")


def logged_ids(caplog: pytest.LogCaptureFixture, code: str) -> list[str]:
    found = [line for line in log_records(caplog, "events rejected") if line["code"] == code]
    assert all(line["events"] == len(line["rejected"]) <= rejections.MAX_EVENTS_PER_LINE for line in found)
    return [each["event_id"] for line in found for each in line["rejected"]]


@pytest.fixture(autouse=True)
def _logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def database_times_out(*_: object) -> None:
    raise timed_out()


def bug(*_: object) -> None:
    raise ZeroDivisionError


def test_when_the_database_fails_for_a_whole_batch_all_events_are_counted_and_logged(
    ready: Api, metrics: Metrics, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ledger_store, "append", database_times_out)
    metrics()
    answer = send_batch(ready, *(event_body(f"e{number}") for number in range(500)))
    assert (answer.status, answer.json["totals"]["rejected"]) == (200, 500)
    assert metrics() == {
        "EventsRejected": 500,
        "EventsRejected.database_unavailable": 500,
        "DatabaseFailures": 1,
    }
    assert sorted(logged_ids(caplog, "database_unavailable")) == sorted(f"e{number}" for number in range(500))
    assert len(log_records(caplog, "events rejected")) == 5


def test_events_that_fail_because_of_a_bug_count_as_internal_errors(
    ready: Api, metrics: Metrics, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ledger_store, "append", bug)
    metrics()
    assert send_batch(ready, event_body("a"), event_body("b")).json["totals"]["rejected"] == 2
    assert metrics() == {"EventsRejected": 2, "EventsRejected.internal_error": 2, "InternalErrors": 1}
    assert logged_ids(caplog, "internal_error") == ["a", "b"]
    assert log_records(caplog, "internal error")[0]["exc_info"]


def test_rejected_events_of_a_batch_are_counted_by_code(
    ready: Api, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    metrics()
    send_batch(
        ready,
        event_body("good", metadata={"text": SECRET}),
        event_body("no-subscription", subscriptionId="unheard-of", metadata={"text": SECRET}),
        event_body("also-none", subscriptionId="unheard-of"),
        event_body("bad", SECRET),
        event_body(SECRET),
        event_body("x" * 200, subscriptionId=SECRET),
        SECRET,
    )
    assert metrics() == {
        "EventsRecorded": 1,
        "EventsRejected": 6,
        "EventsRejected.subscription_not_found": 2,
        "EventsRejected.validation_error": 4,
    }
    assert logged_ids(caplog, "subscription_not_found") == ["no-subscription", "also-none"]
    assert logged_ids(caplog, "validation_error") == ["bad", None, None, None]
    assert log_records(caplog, "events rejected")[1]["rejected"][0]["subscription_id"] in ("sub-1", "unheard-of")
    assert SECRET not in caplog.text
    assert SECRET not in str([vars(record) for record in caplog.records])


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param({"subscriptionId": "nothing"}, "subscription_not_found", id="unknown subscription"),
        pytest.param({"userId": "user-2"}, "subscription_not_owned", id="another user"),
        pytest.param({"quantity": "one"}, "validation_error", id="an invalid quantity"),
        pytest.param({"occurredAt": "2001-01-01T00:00:00Z"}, "validation_error", id="too old"),
    ],
)
def test_a_rejected_single_event_is_counted_and_logged_with_its_ids(
    ready: Api, metrics: Metrics, caplog: pytest.LogCaptureFixture, change: dict[str, str], code: str
) -> None:
    metrics()
    assert ready.post("/api/usage/record", event_body("e1", metadata={"text": SECRET}) | change).code == code
    assert metrics() == {"EventsRejected": 1, f"EventsRejected.{code}": 1}
    [line] = log_records(caplog, "request refused")
    assert (line["event_id"], line["code"]) == ("e1", code)
    assert line["subscription_id"] == change.get("subscriptionId", "sub-1")
    assert SECRET not in str([vars(record) for record in caplog.records])


def test_a_forbidden_event_is_counted_and_logged_with_its_ids(
    ready: Api, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    metrics()
    assert ready.record("e1", headers=READER).status == 403
    assert metrics() == {"EventsRejected": 1, "EventsRejected.forbidden": 1}
    [line] = log_records(caplog, "request refused")
    assert (line["event_id"], line["subscription_id"], line["code"]) == ("e1", "sub-1", "forbidden")


# --- Batches that are rejected completely ---


def batch_of(number: int) -> dict[str, Any]:
    return {"events": [event_body(f"e{each}", metadata={"text": SECRET}) for each in range(number)]}


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        pytest.param({"body": batch_of(501)}, ("validation_error", 501), id="too many events"),
        pytest.param({"body": batch_of(3), "headers": READER}, ("forbidden", 3), id="a key that may only read"),
        pytest.param({"body": batch_of(2) | {"more": 1}}, ("validation_error", 2), id="an unknown field"),
        pytest.param({"body": {"events": SECRET}}, ("validation_error", 0), id="not a list"),
        pytest.param({"raw": "[1]"}, ("validation_error", 0), id="not an object"),
        pytest.param({"raw": "{"}, ("not_json", 0), id="not JSON"),
        pytest.param({"raw": '{"events": [{"eventId": "\ufffd"}]}'}, ("not_json", 0), id="U+FFFD"),
        pytest.param({"raw": " " * MAX_BATCH_BYTES + "{}"}, ("body_too_large", 0), id="too large"),
        pytest.param(
            {"body": batch_of(2), "headers": INTERNAL | {"content-type": "text/plain"}},
            ("unsupported_media_type", 0),
            id="another content type",
        ),
    ],
)
def test_a_batch_that_is_rejected_completely_is_counted_and_logged_with_the_known_ids(
    ready: Api, metrics: Metrics, caplog: pytest.LogCaptureFixture, request_: dict[str, Any], expected: tuple[str, int]
) -> None:
    code, known = expected
    metrics()
    assert ready.post("/api/usage/batch", **request_).code == code
    assert metrics() == {"EventsRejected": known or 1, f"EventsRejected.{code}": known or 1}
    assert logged_ids(caplog, code) == [f"e{number}" for number in range(known)]
    [line] = log_records(caplog, "request refused")
    assert line["code"] == code
    assert SECRET not in str([vars(record) for record in caplog.records])


def test_a_batch_that_fails_because_of_a_bug_is_counted(
    ready: Api, metrics: Metrics, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(intake, "ingest", bug)
    metrics()
    assert send_batch(ready, event_body("a"), event_body("b")).status == 500
    assert metrics() == {"EventsRejected": 2, "EventsRejected.internal_error": 2, "InternalErrors": 1}
    assert logged_ids(caplog, "internal_error") == ["a", "b"]


def test_an_empty_batch_counts_no_rejected_event(ready: Api, metrics: Metrics) -> None:
    metrics()
    assert send_batch(ready).status == 422
    assert metrics() == {}


def test_a_huge_batch_is_counted_completely_but_logged_only_in_part(
    ready: Api, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    """A megabyte of zeros is half a million events."""
    metrics()
    assert ready.post("/api/usage/batch", {"events": [0] * 5000}).status == 422
    assert metrics() == {"EventsRejected": 5000, "EventsRejected.validation_error": 5000}
    found = log_records(caplog, "events rejected")
    assert sum(line["events"] for line in found) == 5000
    assert sum(len(line["rejected"]) for line in found) == rejections.MAX_EVENTS_LOGGED
    assert len(found) == rejections.MAX_EVENTS_LOGGED // rejections.MAX_EVENTS_PER_LINE + 1


# --- Events of customers ---


def test_events_of_customers_who_may_not_record_trigger_no_alarm(
    ready: Api, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    """Anybody with a valid token can send such events. They would keep the alarm active and hide lost events."""
    metrics()
    assert ready.record("e1", headers=CUSTOMER).status == 403
    assert send_batch(ready, event_body("e2"), event_body("e3"), headers=CUSTOMER).status == 403
    assert metrics() == {"EventsRejected.forbidden": 3}
    [single, _] = log_records(caplog, "request refused")
    assert (single["event_id"], single["subscription_id"]) == ("customer:e1", "sub-1")
    assert logged_ids(caplog, "forbidden") == ["customer:e2", "customer:e3"]


def test_rejected_events_of_customers_who_may_record_trigger_no_alarm(
    open_api: Api, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    assert open_api.record("e1", 1, headers=CUSTOMER).status == 201
    metrics()
    assert open_api.record("e1", 2, headers=CUSTOMER).code == "event_id_conflict"
    answer = send_batch(open_api, event_body("e1", 3), event_body("e2", "many"), event_body("e3"), headers=CUSTOMER)
    assert [result["eventId"] for result in answer.json["results"]] == ["customer:e1", "customer:e2", "customer:e3"]
    assert metrics() == {
        "EventsRejected.event_id_conflict": 2,
        "EventsRejected.validation_error": 1,
        "EventsRecorded": 1,
    }
    assert log_records(caplog, "request refused")[0]["event_id"] == "customer:e1"
    assert logged_ids(caplog, "event_id_conflict") == ["customer:e1"]
    assert logged_ids(caplog, "validation_error") == ["customer:e2"]


def test_a_queued_customers_event_with_a_conflict_counts_only_as_dead(open_api: Api, metrics: Metrics) -> None:
    assert open_api.record("e1", 1, headers=CUSTOMER).status == 201
    assert open_api.record("e1", 2, headers=CUSTOMER | {"prefer": "respond-async"}).status == 202
    metrics()
    assert consume(take_messages()) == []
    assert metrics() == {"EventsDead": 1}


def test_ids_are_logged_only_if_they_are_valid(ready: Api, caplog: pytest.LogCaptureFixture) -> None:
    ready.post("/api/usage/record", {"eventId": "two words", "subscriptionId": {"a": SECRET}})
    ready.post("/api/usage/record", raw="[1]")
    ready.post("/api/usage/record", raw="{")
    ready.post("/api/usage/record", {}, headers={**ASYNC, "idempotency-key": "from-the-header"})
    assert [(line["event_id"], line["subscription_id"]) for line in log_records(caplog, "request refused")] == [
        (None, None), (None, None), (None, None), ("from-the-header", None)]  # fmt: skip


def test_a_single_event_that_the_database_fails_on_is_logged_with_its_ids(
    ready: Api, metrics: Metrics, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ledger_store, "append", database_times_out)
    metrics()
    assert ready.record("e1").status == 503
    assert metrics() == {"EventsRejected": 1, "EventsRejected.database_unavailable": 1, "DatabaseFailures": 1}
    [line] = log_records(caplog, "request failed")
    assert (line["event_id"], line["subscription_id"]) == ("e1", "sub-1")


def test_a_single_event_that_fails_because_of_a_bug_is_logged_with_its_ids_and_counted_once(
    ready: Api, metrics: Metrics, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ledger_store, "append", bug)
    metrics()
    assert ready.record("e1").status == 500
    assert metrics() == {"EventsRejected": 1, "EventsRejected.internal_error": 1, "InternalErrors": 1}
    assert ("e1", "sub-1") in [
        (line.get("event_id"), line.get("subscription_id")) for line in log_records(caplog, "internal error")
    ]


def test_events_without_valid_credentials_do_not_count_as_rejected(ready: Api, metrics: Metrics) -> None:
    metrics()
    for headers in ({}, {"x-api-key": "wrong"}, bearer(exp=1)):
        assert ready.record("e1", headers=headers).status == 401
    assert metrics() == {"AuthenticationFailures": 3}


def test_other_failed_requests_do_not_count_as_rejected_events(ready: Api, metrics: Metrics) -> None:
    metrics()
    assert ready.get("/api/subscriptions/nothing").status == 404
    assert metrics() == {}


def test_an_internal_error_is_counted_wherever_it_happens(
    ready: Api, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready.record("e1", 60)
    ready.record("queued", headers=ASYNC)
    metrics()
    with monkeypatch.context() as broken:
        broken.setattr(subscription_store, "subscription", bug)
        assert ready.get("/api/subscriptions/sub-1").status == 500
        assert metrics() == {"InternalErrors": 1}
    with monkeypatch.context() as broken:
        broken.setattr(ledger_store, "append", bug)
        assert len(consume(take_messages())) == 1
        assert metrics() == {"InternalErrors": 1, "EventsDelayed": 1}
    with monkeypatch.context() as broken:
        broken.setattr(settlement_store, "save_settlement", bug)
        assert ready.bill().json["failures"] == 1
        assert metrics()["InternalErrors"] == 1
    for handler, broken_event in ((consume_usage.handler, {}), (run_billing.handler, {"Records": [{}]})):
        with pytest.raises(KeyError):
            handler(broken_event, Context())
        assert metrics() == {"InternalErrors": 1}


def test_a_database_failure_in_a_run_is_counted(ready: Api, metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    ready.record("e1", 60)
    metrics()
    monkeypatch.setattr(settlement_store, "save_settlement", database_times_out)
    assert ready.bill().json["failures"] == 1
    assert metrics()["DatabaseFailures"] == 1
