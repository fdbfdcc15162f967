"""What is refused is seen: each refused event is counted by its code and logged with its ids, without its content."""

import logging
from typing import Any

import pytest

import consume_usage
import run_billing
from tests.api import INTERNAL, Api, Context, bearer
from tests.cloud import SCOPED_KEYS
from tests.faults import timed_out
from tests.integration.conftest import Metrics
from tests.integration.test_batch import event, send
from tests.integration.test_queue import ASYNC, consume, received
from usage_billing.billing import store as settlement_store
from usage_billing.platform import memory
from usage_billing.subscriptions import store as subscription_store
from usage_billing.usage import intake, rejections
from usage_billing.usage import store as ledger_store
from usage_billing.usage.api import MAX_BATCH_BYTES

SECRET = "nobody's business"
READER = {"x-api-key": SCOPED_KEYS["read"]}
CUSTOMER = bearer("user-1")


def lines(caplog: pytest.LogCaptureFixture, message: str) -> list[dict[str, Any]]:
    return [vars(record) for record in caplog.records if record.getMessage() == message]


def logged_ids(caplog: pytest.LogCaptureFixture, code: str) -> list[str]:
    found = [line for line in lines(caplog, "events rejected") if line["code"] == code]
    assert all(line["events"] == len(line["rejected"]) <= rejections.MAX_EVENTS_PER_LINE for line in found)
    return [each["event_id"] for line in found for each in line["rejected"]]


@pytest.fixture(autouse=True)
def _logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


@pytest.fixture
def open_(ready: Api, monkeypatch: pytest.MonkeyPatch) -> Api:
    """The same as `ready`, in a deployment whose customers may record."""
    monkeypatch.setenv("CUSTOMERS_MAY_RECORD", "true")
    memory.forget()
    return ready


def database_times_out(*_: object) -> None:
    raise timed_out()


def bug(*_: object) -> None:
    raise ZeroDivisionError


def test_a_batch_that_the_database_refuses_whole_is_counted_and_every_id_is_logged(
    ready: Api, metrics: Metrics, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ledger_store, "append", database_times_out)
    metrics()
    answer = send(ready, *(event(f"e{number}") for number in range(500)))
    assert (answer.status, answer.json["totals"]["rejected"]) == (200, 500)
    assert metrics() == {
        "EventsRejected": 500,
        "EventsRejected.database_unavailable": 500,
        "DatabaseFailures": 1,
    }
    assert sorted(logged_ids(caplog, "database_unavailable")) == sorted(f"e{number}" for number in range(500))
    assert len(lines(caplog, "events rejected")) == 5


def test_a_batch_that_meets_a_bug_is_counted_as_an_internal_error(
    ready: Api, metrics: Metrics, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ledger_store, "append", bug)
    metrics()
    assert send(ready, event("a"), event("b")).json["totals"]["rejected"] == 2
    assert metrics() == {"EventsRejected": 2, "EventsRejected.internal_error": 2, "InternalErrors": 1}
    assert logged_ids(caplog, "internal_error") == ["a", "b"]
    assert lines(caplog, "internal error")[0]["exc_info"]


def test_rejections_of_a_batch_are_counted_by_code(
    ready: Api, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    metrics()
    send(
        ready,
        event("good", metadata={"text": SECRET}),
        event("no-subscription", subscriptionId="unheard-of", metadata={"text": SECRET}),
        event("also-none", subscriptionId="unheard-of"),
        event("bad", SECRET),
        event(SECRET),
        event("x" * 200, subscriptionId=SECRET),
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
    assert lines(caplog, "events rejected")[1]["rejected"][0]["subscription_id"] in ("sub-1", "unheard-of")
    assert SECRET not in caplog.text
    assert SECRET not in str([vars(record) for record in caplog.records])


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param({"subscriptionId": "nothing"}, "subscription_not_found", id="unknown subscription"),
        pytest.param({"userId": "user-2"}, "subscription_not_owned", id="another user's"),
        pytest.param({"quantity": "one"}, "validation_error", id="not an event"),
        pytest.param({"occurredAt": "2001-01-01T00:00:00Z"}, "validation_error", id="too old"),
    ],
)
def test_a_single_refusal_is_counted_and_logged_with_its_ids(
    ready: Api, metrics: Metrics, caplog: pytest.LogCaptureFixture, change: dict[str, str], code: str
) -> None:
    metrics()
    assert ready.post("/api/usage/record", event("e1", metadata={"text": SECRET}) | change).code == code
    assert metrics() == {"EventsRejected": 1, f"EventsRejected.{code}": 1}
    [line] = lines(caplog, "request refused")
    assert (line["event_id"], line["code"]) == ("e1", code)
    assert line["subscription_id"] == change.get("subscriptionId", "sub-1")
    assert SECRET not in str([vars(record) for record in caplog.records])


def test_who_may_not_record_is_refused_with_the_ids_in_the_log(
    ready: Api, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    metrics()
    assert ready.record("e1", headers=READER).status == 403
    assert metrics() == {"EventsRejected": 1, "EventsRejected.forbidden": 1}
    [line] = lines(caplog, "request refused")
    assert (line["event_id"], line["subscription_id"], line["code"]) == ("e1", "sub-1", "forbidden")


# --- Batches that are refused whole -------------------------------------------------------------


def batch_of(number: int) -> dict[str, Any]:
    return {"events": [event(f"e{each}", metadata={"text": SECRET}) for each in range(number)]}


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        pytest.param({"body": batch_of(501)}, ("validation_error", 501), id="too many events"),
        pytest.param({"body": batch_of(3), "headers": READER}, ("forbidden", 3), id="a key that may only read"),
        pytest.param({"body": batch_of(2) | {"more": 1}}, ("validation_error", 2), id="an unknown field"),
        pytest.param({"body": {"events": SECRET}}, ("validation_error", 0), id="no list"),
        pytest.param({"raw": "[1]"}, ("validation_error", 0), id="no object"),
        pytest.param({"raw": "{"}, ("not_json", 0), id="not JSON"),
        pytest.param({"raw": '{"events": [{"eventId": "\ufffd"}]}'}, ("not_json", 0), id="U+FFFD"),
        pytest.param({"raw": " " * MAX_BATCH_BYTES + "{}"}, ("body_too_large", 0), id="too large"),
        pytest.param(
            {"body": batch_of(2), "headers": INTERNAL | {"content-type": "text/plain"}},
            ("unsupported_media_type", 0),
            id="another format",
        ),
    ],
)
def test_a_batch_that_is_refused_whole_is_counted_and_logged_with_the_ids_that_are_known(
    ready: Api, metrics: Metrics, caplog: pytest.LogCaptureFixture, request_: dict[str, Any], expected: tuple[str, int]
) -> None:
    code, known = expected
    metrics()
    assert ready.post("/api/usage/batch", **request_).code == code
    assert metrics() == {"EventsRejected": known or 1, f"EventsRejected.{code}": known or 1}
    assert logged_ids(caplog, code) == [f"e{number}" for number in range(known)]
    [line] = lines(caplog, "request refused")
    assert line["code"] == code
    assert SECRET not in str([vars(record) for record in caplog.records])


def test_a_batch_that_meets_a_bug_outside_its_events_is_counted_too(
    ready: Api, metrics: Metrics, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(intake, "ingest", bug)
    metrics()
    assert send(ready, event("a"), event("b")).status == 500
    assert metrics() == {"EventsRejected": 2, "EventsRejected.internal_error": 2, "InternalErrors": 1}
    assert logged_ids(caplog, "internal_error") == ["a", "b"]


def test_an_empty_batch_rejects_no_event(ready: Api, metrics: Metrics) -> None:
    metrics()
    assert send(ready).status == 422
    assert metrics() == {}


def test_a_batch_of_any_size_is_counted_but_not_logged_without_end(
    ready: Api, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    """A megabyte of zeros is half a million events."""
    metrics()
    assert ready.post("/api/usage/batch", {"events": [0] * 5000}).status == 422
    assert metrics() == {"EventsRejected": 5000, "EventsRejected.validation_error": 5000}
    found = lines(caplog, "events rejected")
    assert sum(line["events"] for line in found) == 5000
    assert sum(len(line["rejected"]) for line in found) == rejections.MAX_EVENTS_LOGGED
    assert len(found) == rejections.MAX_EVENTS_LOGGED // rejections.MAX_EVENTS_PER_LINE + 1


# --- Events of customers ------------------------------------------------------------------------


def test_a_customer_who_may_not_record_rings_no_alarm(
    ready: Api, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    """Any valid token will do for that. The alarm would never end, and hide what services lose."""
    metrics()
    assert ready.record("e1", headers=CUSTOMER).status == 403
    assert send(ready, event("e2"), event("e3"), headers=CUSTOMER).status == 403
    assert metrics() == {"EventsRejected.forbidden": 3}
    [single, _] = lines(caplog, "request refused")
    assert (single["event_id"], single["subscription_id"]) == ("customer:e1", "sub-1")
    assert logged_ids(caplog, "forbidden") == ["customer:e2", "customer:e3"]


def test_what_customers_may_record_and_is_rejected_rings_no_alarm_either(
    open_: Api, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    assert open_.record("e1", 1, headers=CUSTOMER).status == 201
    metrics()
    assert open_.record("e1", 2, headers=CUSTOMER).code == "event_id_conflict"
    answer = send(open_, event("e1", 3), event("e2", "many"), event("e3"), headers=CUSTOMER)
    assert [result["eventId"] for result in answer.json["results"]] == ["customer:e1", "customer:e2", "customer:e3"]
    assert metrics() == {
        "EventsRejected.event_id_conflict": 2,
        "EventsRejected.validation_error": 1,
        "EventsRecorded": 1,
    }
    assert lines(caplog, "request refused")[0]["event_id"] == "customer:e1"
    assert logged_ids(caplog, "event_id_conflict") == ["customer:e1"]
    assert logged_ids(caplog, "validation_error") == ["customer:e2"]


def test_a_conflict_of_a_customers_event_in_the_queue_is_no_services_fault(open_: Api, metrics: Metrics) -> None:
    assert open_.record("e1", 1, headers=CUSTOMER).status == 201
    assert open_.record("e1", 2, headers=CUSTOMER | {"prefer": "respond-async"}).status == 202
    metrics()
    assert consume(received()) == []
    assert metrics() == {"EventsDead": 1}


def test_ids_are_logged_only_if_they_are_ids(ready: Api, caplog: pytest.LogCaptureFixture) -> None:
    ready.post("/api/usage/record", {"eventId": "two words", "subscriptionId": {"a": SECRET}})
    ready.post("/api/usage/record", raw="[1]")
    ready.post("/api/usage/record", raw="{")
    ready.post("/api/usage/record", {}, headers={**ASYNC, "idempotency-key": "from-the-header"})
    assert [(line["event_id"], line["subscription_id"]) for line in lines(caplog, "request refused")] == [
        (None, None), (None, None), (None, None), ("from-the-header", None)]  # fmt: skip


def test_a_single_event_that_the_database_refuses_is_logged_with_its_ids(
    ready: Api, metrics: Metrics, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ledger_store, "append", database_times_out)
    metrics()
    assert ready.record("e1").status == 503
    assert metrics() == {"EventsRejected": 1, "EventsRejected.database_unavailable": 1, "DatabaseFailures": 1}
    [line] = lines(caplog, "request failed")
    assert (line["event_id"], line["subscription_id"]) == ("e1", "sub-1")


def test_a_single_event_that_meets_a_bug_is_logged_with_its_ids_and_counted_once(
    ready: Api, metrics: Metrics, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ledger_store, "append", bug)
    metrics()
    assert ready.record("e1").status == 500
    assert metrics() == {"EventsRejected": 1, "EventsRejected.internal_error": 1, "InternalErrors": 1}
    assert ("e1", "sub-1") in [
        (line.get("event_id"), line.get("subscription_id")) for line in lines(caplog, "internal error")
    ]


def test_whoever_has_no_credentials_rings_no_alarm_of_rejected_events(ready: Api, metrics: Metrics) -> None:
    metrics()
    for headers in ({}, {"x-api-key": "wrong"}, bearer(exp=1)):
        assert ready.record("e1", headers=headers).status == 401
    assert metrics() == {"AuthenticationFailures": 3}


def test_other_requests_that_are_refused_are_no_rejected_events(ready: Api, metrics: Metrics) -> None:
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
        assert len(consume(received())) == 1
        assert metrics() == {"InternalErrors": 1, "EventsDelayed": 1}
    with monkeypatch.context() as broken:
        broken.setattr(settlement_store, "save_settlement", bug)
        assert ready.bill().json["failures"] == 1
        assert metrics()["InternalErrors"] == 1
    for handler, broken_event in ((consume_usage.handler, {}), (run_billing.handler, {"Records": [{}]})):
        with pytest.raises(KeyError):
            handler(broken_event, Context())
        assert metrics() == {"InternalErrors": 1}


def test_a_failure_of_the_database_is_counted_in_runs_too(
    ready: Api, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready.record("e1", 60)
    metrics()
    monkeypatch.setattr(settlement_store, "save_settlement", database_times_out)
    assert ready.bill().json["failures"] == 1
    assert metrics()["DatabaseFailures"] == 1
