"""Events that wait: a caller prefers it, or their ledger is hot. Each is recorded once or kept with its reason."""

import importlib
import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import boto3
import pytest

from tests import ledgers
from tests.api import Api, Context
from tests.faults import transaction_conflict, watched
from tests.integration.test_batch import event, send
from tests.queue import dead
from usage_billing.platform import queues
from usage_billing.usage import appending, hot_ledgers, queue
from usage_billing.usage.ledger import LedgerKey

ASYNC = {"prefer": "respond-async", "x-api-key": "test-key"}


@pytest.fixture
def hot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every ledger is one that others write to."""
    monkeypatch.setattr(hot_ledgers, "is_hot", lambda _: True)


def received(setting: str = "USAGE_QUEUE_URL") -> list[dict[str, Any]]:
    """All messages of a queue, taken out of it."""
    sqs = boto3.client("sqs")
    found: list[dict[str, Any]] = []
    while messages := sqs.receive_message(
        QueueUrl=os.environ[setting], MaxNumberOfMessages=10, MessageAttributeNames=["All"]
    ).get("Messages"):
        for message in messages:
            sqs.delete_message(QueueUrl=os.environ[setting], ReceiptHandle=message["ReceiptHandle"])
        found += messages
    return found


def consume(
    messages: Sequence[Any], *, receives: int = 1, seconds: float = 300, function: str = "consume_usage"
) -> list[str]:
    """Deliver messages as Lambda's poller does, for the so-manieth time; the ids of those it is to deliver again."""
    attributes = {"ApproximateReceiveCount": str(receives)}
    records = [
        {
            "messageId": each["MessageId"],
            "receiptHandle": each.get("ReceiptHandle", "of a message that never was in the queue"),
            "body": each["Body"],
            "attributes": attributes,
        }
        for each in messages
    ]
    answer = importlib.import_module(function).handler({"Records": records}, Context(seconds))
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


def test_a_caller_who_prefers_it_is_answered_at_once(ready: Api) -> None:
    answer = ready.record("a", 60, headers=ASYNC)
    assert (answer.status, answer.json) == (202, {"queued": True, "eventId": "a"})
    assert ledgers.read() == []
    assert consume(received()) == []
    [ledger] = ledgers.check()
    assert ledger.head["used"] == 60


@pytest.mark.parametrize(
    "prefer",
    [pytest.param("wait=10, Respond-Async; x=1", id="among others"), pytest.param("respond-async", id="alone")],
)
def test_a_preference_is_found_as_http_writes_it(ready: Api, prefer: str) -> None:
    assert ready.record("a", headers=ASYNC | {"prefer": prefer}).status == 202


@pytest.mark.parametrize("prefer", ["wait=10", "return=minimal", "respond-asynchronously", ""])
def test_other_preferences_are_ignored(ready: Api, prefer: str) -> None:
    assert ready.record("a", headers=ASYNC | {"prefer": prefer}).status == 201


def test_a_queued_batch_is_consumed_in_full_transactions(ready: Api) -> None:
    answer = send(ready, *(event(f"e{n}") for n in range(500)), event("bad", -1), headers=ASYNC)
    assert answer.status == 422  # 501 events
    answer = send(ready, *(event(f"e{n}") for n in range(499)), event("bad", -1), headers=ASYNC)
    assert (answer.status, answer.json["totals"]) == (
        202,
        {"recorded": 0, "replayed": 0, "queued": 499, "rejected": 1},
    )
    messages = received()
    assert len(messages) == 6
    with watched() as calls:
        assert consume(messages) == []
    assert calls.made.count("TransactWriteItems") == 6
    [ledger] = ledgers.check()
    assert ledger.head["used"] == 499


def test_single_messages_of_one_ledger_share_a_transaction(ready: Api) -> None:
    for number in range(30):
        ready.record(f"e{number}", headers=ASYNC)
    messages = received()
    assert len(messages) == 30
    with watched() as calls:
        consume(messages)
    assert calls.made.count("TransactWriteItems") == 1


def test_delivered_again_and_in_any_order_an_event_counts_once(ready: Api) -> None:
    for number in range(5):
        ready.record(f"e{number}", number + 1, headers=ASYNC)
    messages = received()
    consume(messages[2:] + messages[1:])
    consume(list(reversed(messages)))
    [ledger] = ledgers.check()
    assert ledger.head["used"] == 15


def test_an_event_occurred_when_it_was_taken_not_when_it_was_consumed(ready: Api) -> None:
    """And reported again directly, without an instant of its own, it is the same event still."""
    ready.record("a", headers=ASYNC)
    messages = received()
    accepted_at = json.loads(messages[0]["Body"])["events"][0]["acceptedAt"]
    consume(messages)
    [ledger] = ledgers.check()
    assert ledger.entries[0]["occurred_at"] == accepted_at
    assert ready.record("a").status == 200


def test_an_event_recorded_directly_and_queued_before_is_one_event(ready: Api) -> None:
    ready.record("a", headers=ASYNC)
    assert ready.record("a").status == 201
    assert consume(received()) == []
    assert dead() == []
    [ledger] = ledgers.check()
    assert ledger.head["used"] == 1


@pytest.mark.parametrize(
    ("prepare", "code"),
    [
        pytest.param(lambda api: api.record("a", 7), "event_id_conflict", id="a conflict"),
        pytest.param(
            lambda api: api.subscribe(status="canceled"),
            "subscription_inactive",
            id="a subscription that ended",
        ),
    ],
)
def test_what_cannot_be_recorded_is_kept_with_its_reason(
    ready: Api, prepare: Callable[[Api], object], code: str, metrics: Any
) -> None:
    ready.record("a", 1, headers=ASYNC)
    prepare(ready)
    messages = received()
    metrics()
    assert consume(messages) == []
    assert metrics()["EventsDead"] == 1
    [row] = dead()
    assert (row["code"], row["event_id"], row["attempts"]) == (code, "a", 1)
    assert row["detail"]
    assert [json.loads(row["content"])] == json.loads(messages[0]["Body"])["events"]
    ledgers.check()


@pytest.mark.parametrize("body", ["", "{", "[]", '{"events": [{"eventId": "a"}]}', "[" * 100_000])
def test_a_message_that_is_none_of_ours_is_kept_and_stops_no_other(ready: Api, body: str) -> None:
    ready.record("a", headers=ASYNC)
    [message] = received()
    if body:  # SQS has no empty messages, but takes these
        assert consume([{"MessageId": "foreign", "Body": body}, message]) == []
        [row] = dead()
        assert (row["code"], row["content"]) == ("unreadable", body)
    else:
        consume([message])
    [ledger] = ledgers.check()
    assert ledger.head["used"] == 1


def test_only_the_messages_that_failed_are_delivered_again(ready: Api, metrics: Any) -> None:
    ready.subscribe("sub-2")
    ready.record("a", headers=ASYNC)
    ready.record("b", subscriptionId="sub-2", headers=ASYNC)
    messages = {json.loads(m["Body"])["events"][0]["eventId"]: m for m in received()}
    with watched() as calls:
        calls.fail_where(lambda params: "sub-2" in str(params.get("TransactItems")), lambda: transaction_conflict(2))
        metrics()
        assert consume(list(messages.values())) == [messages["b"]["MessageId"]]
        assert metrics()["EventsDelayed"] == 1
    assert consume([messages["b"]]) == []
    assert [ledger.head["used"] for ledger in ledgers.check()] == [1, 1]


def test_a_hot_ledger_spills_over(ready: Api, hot: None) -> None:
    with watched() as calls:
        answer = ready.record("a", 60)
    assert (answer.status, answer.json) == (202, {"queued": True, "eventId": "a"})
    assert "TransactWriteItems" not in calls.made
    batch = send(ready, event("a", 60), event("b", 1))
    assert (batch.status, [r["status"] for r in batch.json["results"]]) == (202, ["queued", "queued"])
    assert consume(received()) == []
    [ledger] = ledgers.check()
    assert ledger.head["used"] == 61


def test_a_recorder_that_keeps_losing_leaves_it_to_the_queue_and_remembers(ready: Api) -> None:
    ready.record("first")
    with watched() as calls:
        calls.fail_where(lambda params: "TransactItems" in params, lambda: transaction_conflict(2))
        assert ready.record("second").status == 202
        assert calls.made.count("TransactWriteItems") == appending.MAX_IMPATIENT_ATTEMPTS
        assert ready.record("third").status == 202
        assert calls.made.count("TransactWriteItems") == appending.MAX_IMPATIENT_ATTEMPTS
    hot_ledgers.lost_at.clear()
    assert ready.record("fourth").status == 201
    consume(received())
    [ledger] = ledgers.check()
    assert {e["event_id"] for e in ledger.entries} == {"first", "second", "third", "fourth"}


def test_a_ledger_is_hot_for_some_seconds_only(monkeypatch: pytest.MonkeyPatch) -> None:
    key = LedgerKey("sub-1", "2026-11-01T00:00:00Z", "report")
    now = [100.0]
    monkeypatch.setattr(hot_ledgers, "monotonic", lambda: now[0])
    hot_ledgers.note_lost_race(key)
    assert hot_ledgers.is_hot(key)
    now[0] += hot_ledgers.HOT_SECONDS
    assert not hot_ledgers.is_hot(key)


def test_a_queue_that_does_not_answer_either_is_said_so(ready: Api, hot: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "send_batch", lambda url, messages: dict.fromkeys(range(len(messages)), _no_queue()))
    answer = ready.record("a")
    assert (answer.status, answer.code, answer.headers["Retry-After"]) == (503, "queue_unavailable", "1")
    [result] = send(ready, event("a")).json["results"]
    assert (result["status"], result["problem"]["code"]) == ("rejected", "queue_unavailable")
    assert ledgers.read() == []


def _no_queue() -> Exception:
    return queue.QueueUnavailable("no queue")
