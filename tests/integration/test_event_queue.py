"""Queued events, because a caller asks for it or a ledger is hot: each is recorded once or dead-lettered."""

import json
from collections.abc import Callable

import pytest

from tests import ledgers
from tests.api import Api
from tests.batches import send_batch
from tests.builders import event_body
from tests.faults import transaction_conflict, watched
from tests.metrics import Metrics
from tests.queue import ASYNC, consume, dead, take_messages
from usage_billing.kernel.errors import QueueUnavailable
from usage_billing.platform import queues
from usage_billing.usage import append_with_retries, hot_ledgers
from usage_billing.usage.ledger import LedgerKey


@pytest.fixture
def hot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat every ledger as hot."""
    monkeypatch.setattr(hot_ledgers, "is_hot", lambda _: True)


def test_a_caller_can_ask_for_an_event_to_be_queued(ready: Api) -> None:
    answer = ready.record("a", 60, headers=ASYNC)
    assert (answer.status, answer.json) == (202, {"queued": True, "eventId": "a"})
    assert ledgers.read() == []
    assert consume(take_messages()) == []
    [ledger] = ledgers.check()
    assert ledger.head["used"] == 60


@pytest.mark.parametrize(
    "prefer",
    [
        pytest.param("wait=10, Respond-Async; x=1", id="with other preferences"),
        pytest.param("respond-async", id="the only preference"),
    ],
)
def test_the_header_prefer_is_parsed_by_the_rules_of_http(ready: Api, prefer: str) -> None:
    assert ready.record("a", headers=ASYNC | {"prefer": prefer}).status == 202


@pytest.mark.parametrize("prefer", ["wait=10", "return=minimal", "respond-asynchronously", ""])
def test_other_preferences_are_ignored(ready: Api, prefer: str) -> None:
    assert ready.record("a", headers=ASYNC | {"prefer": prefer}).status == 201


def test_a_queued_batch_is_recorded_in_full_transactions(ready: Api) -> None:
    answer = send_batch(ready, *(event_body(f"e{n}") for n in range(500)), event_body("bad", -1), headers=ASYNC)
    assert answer.status == 422  # 501 events
    answer = send_batch(ready, *(event_body(f"e{n}") for n in range(499)), event_body("bad", -1), headers=ASYNC)
    assert (answer.status, answer.json["totals"]) == (
        202,
        {"recorded": 0, "replayed": 0, "queued": 499, "rejected": 1},
    )
    messages = take_messages()
    assert len(messages) == 6
    with watched() as calls:
        assert consume(messages) == []
    assert calls.made.count("TransactWriteItems") == 6
    [ledger] = ledgers.check()
    assert ledger.head["used"] == 499


def test_single_messages_of_one_ledger_share_a_transaction(ready: Api) -> None:
    for number in range(30):
        ready.record(f"e{number}", headers=ASYNC)
    messages = take_messages()
    assert len(messages) == 30
    with watched() as calls:
        consume(messages)
    assert calls.made.count("TransactWriteItems") == 1


def test_an_event_counts_once_however_often_and_in_which_order_it_is_delivered(ready: Api) -> None:
    for number in range(5):
        ready.record(f"e{number}", number + 1, headers=ASYNC)
    messages = take_messages()
    consume(messages[2:] + messages[1:])
    consume(list(reversed(messages)))
    [ledger] = ledgers.check()
    assert ledger.head["used"] == 15


def test_an_event_without_a_time_occurred_when_it_was_accepted(ready: Api) -> None:
    """Recorded again directly, without a time, it is still the same event."""
    ready.record("a", headers=ASYNC)
    messages = take_messages()
    accepted_at = json.loads(messages[0]["Body"])["events"][0]["acceptedAt"]
    consume(messages)
    [ledger] = ledgers.check()
    assert ledger.entries[0]["occurred_at"] == accepted_at
    assert ready.record("a").status == 200


def test_an_event_that_is_queued_and_then_recorded_directly_counts_once(ready: Api) -> None:
    ready.record("a", headers=ASYNC)
    assert ready.record("a").status == 201
    assert consume(take_messages()) == []
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
            id="a canceled subscription",
        ),
    ],
)
def test_an_event_that_cannot_be_recorded_is_dead_lettered_with_its_reason(
    ready: Api, prepare: Callable[[Api], object], code: str, metrics: Metrics
) -> None:
    ready.record("a", 1, headers=ASYNC)
    prepare(ready)
    messages = take_messages()
    metrics()
    assert consume(messages) == []
    assert metrics()["EventsDead"] == 1
    [row] = dead()
    assert (row["code"], row["event_id"], row["attempts"]) == (code, "a", 1)
    assert row["detail"]
    assert [json.loads(row["content"])] == json.loads(messages[0]["Body"])["events"]
    ledgers.check()


@pytest.mark.parametrize("body", ["", "{", "[]", '{"events": [{"eventId": "a"}]}', "[" * 100_000])
def test_an_unreadable_message_is_dead_lettered_and_does_not_stop_the_others(ready: Api, body: str) -> None:
    ready.record("a", headers=ASYNC)
    [message] = take_messages()
    if body:  # SQS does not accept empty messages
        assert consume([{"MessageId": "unreadable", "Body": body}, message]) == []
        [row] = dead()
        assert (row["code"], row["content"]) == ("unreadable", body)
    else:
        consume([message])
    [ledger] = ledgers.check()
    assert ledger.head["used"] == 1


def test_only_failed_messages_are_delivered_again(ready: Api, metrics: Metrics) -> None:
    ready.subscribe("sub-2")
    ready.record("a", headers=ASYNC)
    ready.record("b", subscriptionId="sub-2", headers=ASYNC)
    messages = {json.loads(m["Body"])["events"][0]["eventId"]: m for m in take_messages()}
    with watched() as calls:
        calls.fail_where(lambda params: "sub-2" in str(params.get("TransactItems")), lambda: transaction_conflict(2))
        metrics()
        assert consume(list(messages.values())) == [messages["b"]["MessageId"]]
        assert metrics()["EventsDelayed"] == 1
    assert consume([messages["b"]]) == []
    assert [ledger.head["used"] for ledger in ledgers.check()] == [1, 1]


def test_events_of_a_hot_ledger_are_queued(ready: Api, hot: None) -> None:
    with watched() as calls:
        answer = ready.record("a", 60)
    assert (answer.status, answer.json) == (202, {"queued": True, "eventId": "a"})
    assert calls.made == ["SendMessageBatch"], "nothing is read"
    batch = send_batch(ready, event_body("a", 60), event_body("b", 1))
    assert (batch.status, [r["status"] for r in batch.json["results"]]) == (202, ["queued", "queued"])
    assert consume(take_messages()) == []
    [ledger] = ledgers.check()
    assert ledger.head["used"] == 61


def test_after_repeated_lost_races_events_are_queued_for_some_seconds(ready: Api) -> None:
    ready.record("first")
    with watched() as calls:
        calls.fail_where(lambda params: "TransactItems" in params, lambda: transaction_conflict(2))
        assert ready.record("second").status == 202
        assert calls.made.count("TransactWriteItems") == append_with_retries.MAX_IMPATIENT_ATTEMPTS
        assert ready.record("third").status == 202
        assert calls.made.count("TransactWriteItems") == append_with_retries.MAX_IMPATIENT_ATTEMPTS
    hot_ledgers.lost_at.clear()
    assert ready.record("fourth").status == 201
    consume(take_messages())
    [ledger] = ledgers.check()
    assert {e["event_id"] for e in ledger.entries} == {"first", "second", "third", "fourth"}


def test_a_ledger_stays_hot_for_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    key = LedgerKey("sub-1", "2026-11-01T00:00:00Z", "report")
    now = [100.0]
    monkeypatch.setattr(hot_ledgers, "monotonic", lambda: now[0])
    hot_ledgers.note_lost_race(key)
    assert hot_ledgers.is_hot(key)
    now[0] += hot_ledgers.HOT_SECONDS
    assert not hot_ledgers.is_hot(key)


def test_if_the_queue_does_not_answer_either_the_event_is_503(
    ready: Api, hot: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "send_batch", lambda url, messages: dict.fromkeys(range(len(messages)), _no_queue()))
    answer = ready.record("a")
    assert (answer.status, answer.code, answer.headers["Retry-After"]) == (503, "queue_unavailable", "1")
    [result] = send_batch(ready, event_body("a")).json["results"]
    assert (result["status"], result["problem"]["code"]) == ("rejected", "queue_unavailable")
    assert ledgers.read() == []


def _no_queue() -> Exception:
    return QueueUnavailable("no queue")
