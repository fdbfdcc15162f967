"""Batches: each event has its own result, and the events of a ledger share transactions."""

from decimal import Decimal
from typing import Any

import pytest

from tests import ledgers
from tests.api import Api
from tests.batches import error_codes, send_batch, statuses
from tests.builders import event_body
from tests.faults import timed_out, watched
from usage_billing.usage import store as ledger_store


def test_results_are_in_the_order_of_the_events(ready: Api) -> None:
    ready.record("known", 2)
    answer = send_batch(
        ready,
        event_body("a", 3),
        event_body("known", 2),
        event_body("known", 9),
        event_body("b", "many"),
        event_body("c", 1, subscriptionId="unheard-of"),
        event_body("d", 50),
    )
    assert answer.status == 200
    assert answer.json["totals"] == {"recorded": 2, "replayed": 1, "queued": 0, "rejected": 3}
    assert [result["eventId"] for result in answer.json["results"]] == ["a", "known", "known", "b", "c", "d"]
    assert statuses(answer) == ["recorded", "replayed", "rejected", "rejected", "rejected", "recorded"]
    codes = error_codes(answer)
    assert codes == [None, None, "event_id_conflict", "validation_error", "subscription_not_found", None]
    [error] = answer.json["results"][3]["problem"]["errors"]
    assert (error["field"], error["message"]) == ("quantity", "must be a JSON number")
    ledgers.check()


def test_the_result_of_a_recorded_event_equals_the_response_to_a_single_event(ready: Api) -> None:
    [result] = send_batch(ready, event_body("a", 60)).json["results"]
    assert result["record"] == ready.record("a", 60).json
    assert (result["record"]["billableQuantity"], result["problem"]) == (10, None)


def test_a_repeated_id_in_a_batch_counts_once_or_conflicts(ready: Api) -> None:
    answer = send_batch(
        ready, event_body("a", 3), event_body("a", 3), event_body("a", 4), event_body("a", 3, subscriptionId="sub-2")
    )
    assert statuses(answer) == ["recorded", "replayed", "rejected", "rejected"]
    [ledger] = ledgers.check()
    assert ledger.head["used"] == 3


def test_events_without_an_id_are_separate_events(ready: Api) -> None:
    answer = send_batch(ready, event_body(None), event_body(None))
    assert statuses(answer) == ["recorded", "recorded"]
    assert len({result["eventId"] for result in answer.json["results"]}) == 2


@pytest.mark.parametrize(
    ("size", "transactions"),
    [
        pytest.param(1, 1, id="one event"),
        pytest.param(99, 1, id="a full transaction"),
        pytest.param(100, 2, id="one event more"),
        pytest.param(500, 6, id="the largest batch"),
    ],
)
def test_events_of_one_ledger_share_transactions(ready: Api, size: int, transactions: int) -> None:
    ready.get("/api/usage/subscription/sub-1")
    with watched() as calls:
        answer = send_batch(ready, *(event_body(f"e{number}") for number in range(size)))
    assert answer.json["totals"]["recorded"] == size
    assert calls.made.count("TransactWriteItems") == transactions
    [ledger] = ledgers.check()
    assert ledger.head["used"] == size


def test_a_batch_can_span_many_ledgers(ready: Api) -> None:
    for number in range(5):
        ready.subscribe(f"sub-{number}")
    batch = [event_body(f"e{number}", 60, subscriptionId=f"sub-{number % 5}") for number in range(10)]
    assert statuses(send_batch(ready, *batch)) == ["recorded"] * 10
    assert ready.bill().json["totals"] == {"USD": "3500.00"}
    ledgers.check()


@pytest.mark.parametrize("known", [0, 40, 99])
def test_a_batch_sent_again_is_replayed_completely(ready: Api, known: int) -> None:
    """After a timeout the caller does not know which events were recorded."""
    batch = [event_body(f"e{number}", number + 1) for number in range(150)]
    if known:
        send_batch(ready, *batch[:known])
    first = send_batch(ready, *batch)
    assert first.json["totals"] == {"recorded": 150 - known, "replayed": known, "queued": 0, "rejected": 0}
    again = send_batch(ready, *batch)
    assert again.json["totals"] == {"recorded": 0, "replayed": 150, "queued": 0, "rejected": 0}
    assert [r["record"] for r in again.json["results"]] == [r["record"] for r in first.json["results"]]
    ledgers.check()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        pytest.param({}, "events", id="no events"),
        pytest.param({"events": []}, "events", id="an empty list"),
        pytest.param({"events": [event_body(f"e{n}") for n in range(501)]}, "events", id="too many"),
        pytest.param({"events": {"a": 1}}, "events", id="not a list"),
        pytest.param({"events": [event_body("a")], "more": 1}, "more", id="an unknown field"),
    ],
)
def test_a_malformed_batch_is_rejected_completely(ready: Api, body: Any, field: str) -> None:
    answer = ready.post("/api/usage/batch", body)
    assert (answer.status, answer.code) == (422, "validation_error")
    assert field in [error["field"] for error in answer.json["errors"]]
    assert ledgers.read() == []


def test_when_the_database_fails_halfway_only_unwritten_events_are_rejected(ready: Api) -> None:
    send_batch(ready, event_body("open"))
    batch = [event_body(f"e{number}") for number in range(150)]
    with watched() as calls:
        calls.fail(3, "before", timed_out)  # head, first transaction, second transaction
        answer = send_batch(ready, *batch)
    assert answer.json["totals"] == {"recorded": 99, "replayed": 0, "queued": 0, "rejected": 51}
    assert {r["problem"]["status"] for r in answer.json["results"] if r["problem"]} == {503}
    assert send_batch(ready, *batch).json["totals"] == {"recorded": 51, "replayed": 99, "queued": 0, "rejected": 0}
    [ledger] = ledgers.check()
    assert ledger.head["used"] == Decimal(151)


def test_99_entries_and_a_head_fit_into_a_dynamodb_transaction(ready: Api) -> None:
    assert ledger_store.MAX_ENTRIES + 1 == 100


@pytest.mark.parametrize(
    ("bad", "detail"),
    [
        pytest.param(7, "must be a JSON object", id="not an object"),
        pytest.param(None, "must be a JSON object", id="null"),
        pytest.param({f"k{n}": 1 for n in range(10_000)}, "must have at most 20 fields", id="thousands of fields"),
        pytest.param({"eventId": "\ud800", "quantity": 1}, "", id="a lone surrogate in the id"),
        pytest.param({"eventId": "e" * 10_000}, "", id="a very long id"),
        pytest.param(event_body("b", metadata={"\ud800": 1}), "", id="a lone surrogate in the metadata"),
    ],
)
def test_a_bad_event_does_not_fail_the_others(ready: Api, bad: Any, detail: str) -> None:
    answer = send_batch(ready, event_body("a"), bad, event_body("c"))
    assert statuses(answer) == ["recorded", "rejected", "recorded"]
    rejected = answer.json["results"][1]
    assert detail in rejected["problem"]["detail"]
    assert len(answer.text.encode()) < 10_000
    ledgers.check()
