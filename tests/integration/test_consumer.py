"""The consumer of the usage queue: its cost, its time limits, and the messages that are delivered again."""

import os
import time
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto.backends import get_backend

from tests import ledgers
from tests.api import ADMIN, Api, bearer
from tests.batches import error_codes, send_batch, statuses
from tests.builders import event_body
from tests.deadlines import scripted
from tests.faults import Parameters, throttled, timed_out, transaction_conflict, watched
from tests.metrics import Metrics
from tests.queue import consume, dead, queue_message, queue_messages, take_messages
from tests.template import functions, nested
from usage_billing.platform import clock, retries
from usage_billing.platform.deadline import CONSUME_RESERVE
from usage_billing.usage import queue_consumer, redelivery
from usage_billing.usage.queue_consumer import Message

pytestmark = pytest.mark.usefixtures("no_pauses")


def deliver(found: list[dict[str, Any]], seconds_left: Callable[[], float]) -> list[str]:
    as_delivered = [Message(each["MessageId"], each["Body"], "receipt") for each in found]
    return queue_consumer.consume(as_delivered, clock.now(), scripted(seconds_left))


def used() -> dict[str, int]:
    return {ledger.head["subscription_id"]: int(ledger.head["used"]) for ledger in ledgers.check()}


def validation_exception() -> Exception:
    return ClientError({"Error": {"Code": "ValidationException", "Message": "injected"}}, "TransactWriteItems")


def transaction_on(subscription: str) -> Callable[[Parameters], bool]:
    return lambda parameters: subscription in str(parameters.get("TransactItems"))


# --- Time ---


def test_only_messages_that_there_was_no_time_for_are_delivered_again(ready: Api) -> None:
    ready.subscribe("sub-2")
    found = queue_messages(event_body("a"), event_body("b", subscriptionId="sub-2"))
    with watched() as calls:
        assert deliver(found, lambda: 20 if "TransactWriteItems" in calls.made else 300) == ["m1"]
    assert used() == {"sub-1": 1}
    assert consume(found) == []
    assert used() == {"sub-1": 1, "sub-2": 1}


def test_a_ledger_with_many_events_is_left_between_two_transactions(ready: Api) -> None:
    found = [queue_message(f"m{n}", *(event_body(f"e{n}-{each}") for each in range(99))) for n in range(3)]
    with watched() as calls:
        assert deliver(found, lambda: 20 if "TransactWriteItems" in calls.made else 300) == ["m1", "m2"]
    assert used() == {"sub-1": 99}
    assert consume(found) == []
    assert used() == {"sub-1": 297}


def test_nothing_is_written_after_a_read_that_took_all_the_time(ready: Api) -> None:
    found = queue_messages(event_body("a"), event_body("b", usageType="report"))
    with watched() as calls:
        assert deliver(found, lambda: 20 if "BatchGetItem" in calls.made else 300) == ["m0", "m1"]
    assert "TransactWriteItems" not in calls.made
    assert ledgers.read() == []


def test_without_time_nothing_is_started(ready: Api) -> None:
    found = queue_messages(event_body("a"), event_body("b", subscriptionId="unheard-of"))
    with watched() as calls:
        assert consume(found, seconds=CONSUME_RESERVE - 1) == ["m0", "m1"]
    assert calls.made == ["ChangeMessageVisibilityBatch"]


def test_messages_that_there_was_no_time_to_dead_letter_are_delivered_again(ready: Api) -> None:
    found = queue_messages(*(event_body(f"e{n}", subscriptionId=f"unheard-of-{n}") for n in range(11)))
    with watched() as calls:
        [last] = deliver(found, lambda: 5 if calls.made.count("UpdateItem") == 10 else 300)
    assert len(dead()) == 10
    assert last.replace("m", "e") not in {row["event_id"] for row in dead()}
    assert consume(found) == []
    assert len(dead()) == 11


def test_events_of_a_request_that_runs_out_of_time_are_queued(ready: Api) -> None:
    with watched() as calls:
        answer = send_batch(ready, event_body("a"), event_body("b"), seconds=6)
    assert (answer.status, statuses(answer)) == (202, ["queued", "queued"])
    assert calls.made == ["SendMessageBatch"]
    assert consume(take_messages()) == []
    assert used() == {"sub-1": 2}


def test_a_request_without_time_for_the_queue_is_503(ready: Api) -> None:
    answer = ready.post("/api/usage/record", event_body("a"), seconds=1)
    assert (answer.status, answer.code) == (503, "queue_unavailable")
    assert take_messages() == []


def test_the_queues_timeouts_fit_the_consumers() -> None:
    queue = nested()["Queues"]["Resources"]["UsageQueue"]["Properties"]
    timeout = functions()["ConsumeUsageFunction"]["Properties"]["Timeout"]
    assert queue["VisibilityTimeout"] == 6 * timeout
    assert timeout > 2 * CONSUME_RESERVE
    assert queue["RedrivePolicy"]["maxReceiveCount"] == redelivery.MAX_RECEIVES
    delays = [Message("m", "", "receipt", receives).delay for receives in range(1, redelivery.MAX_RECEIVES)]
    assert delays == sorted(delays)
    assert sum(delays) > 8 * 3600, "the database may be unavailable that long"
    assert max(delays) <= 43_200 - queue["VisibilityTimeout"], "SQS hides no message for longer"


# --- Copies of one event ---


def test_copies_of_an_event_cost_no_extra_calls(ready: Api) -> None:
    with watched() as once:
        send_batch(ready, event_body("a", 2))
    with watched() as calls:
        assert consume(queue_messages(*[event_body("b", 2)] * 40, event_body("b", 3))) == []
    assert calls.made.count("TransactWriteItems") == 1
    assert len(calls.made) <= len(once.made) + 1, "plus one for the dead event of the conflict"
    assert used() == {"sub-1": 4}
    [row] = dead()
    assert row["code"] == "event_id_conflict"


def test_copies_in_other_ledgers_are_compared_with_the_first(ready: Api) -> None:
    ready.plan(usage_type="report")
    with watched() as once:
        send_batch(ready, event_body("other"))
    with watched() as calls:
        answer = send_batch(
            ready,
            event_body("a", 3),
            event_body("a", 3, usageType="report"),
            event_body("a", 3, occurredAt="2026-01-10T00:00:00Z"),
            event_body("a", 3),
            event_body("a", 3, occurredAt="2001-01-10T00:00:00Z"),
        )
    codes = error_codes(answer)
    assert codes == [None, "event_id_conflict", "event_id_conflict", None, "event_id_conflict"]
    assert statuses(answer)[3] == "replayed"
    assert len(calls.made) <= len(once.made)
    assert used() == {"sub-1": 4}


def test_a_copy_of_a_recorded_event_is_a_replay_even_after_a_conflicting_one(ready: Api) -> None:
    ready.plan(usage_type="report")
    ready.record("a", 3)
    answer = send_batch(ready, event_body("a", 4), event_body("a", 3), event_body("a", 3, usageType="report"))
    assert statuses(answer) == ["rejected", "replayed", "rejected"]
    assert [r["problem"]["code"] for r in answer.json["results"] if r["problem"]] == ["event_id_conflict"] * 2


def test_a_refused_event_does_not_refuse_the_next_one_with_its_id(ready: Api) -> None:
    answer = send_batch(ready, event_body("a", userId="user-2"), event_body("a"))
    assert statuses(answer) == ["rejected", "recorded"]


def test_copies_share_the_failure_of_the_first(ready: Api) -> None:
    ready.plan(usage_type="report")
    with watched() as calls:
        calls.fail_where(lambda parameters: "TransactItems" in parameters, timed_out)
        answer = send_batch(ready, event_body("a"), event_body("a"), event_body("a", usageType="report"))
        assert calls.made.count("TransactWriteItems") == 1
    assert [r["problem"]["code"] for r in answer.json["results"]] == ["database_unavailable"] * 3
    assert ledgers.read() == []


# --- Events that cannot be recorded ---


def test_an_unknown_subscription_is_looked_up_once_and_all_its_events_are_dead_lettered(
    ready: Api, metrics: Metrics
) -> None:
    found = queue_messages(*(event_body(f"e{n}", subscriptionId="unheard-of") for n in range(60)))
    metrics()
    with watched() as calls:
        assert consume(found) == []
    assert calls.made == ["BatchGetItem", *["UpdateItem"] * 60]
    assert metrics()["EventsDead"] == 60
    assert {row["event_id"] for row in dead()} == {f"e{n}" for n in range(60)}


def test_a_paused_subscription_is_looked_up_once(ready: Api) -> None:
    ready.record("known")
    ready.subscribe(status="paused")
    with watched() as calls:
        assert consume(queue_messages(event_body("known"), *(event_body(f"e{n}") for n in range(5)))) == []
    # The subscription with the ledger, the entries of all events, and the head of the one that is recorded.
    assert calls.made[:3] == ["BatchGetItem", "BatchGetItem", "GetItem"]
    assert set(calls.made[3:]) == {"UpdateItem"}
    assert {(row["event_id"], row["code"]) for row in dead()} == {(f"e{n}", "subscription_inactive") for n in range(5)}


# --- Lost races and other failures ---


def test_the_retry_limit_applies_to_each_transaction(ready: Api) -> None:
    """Each of three transactions succeeds at its last attempt."""
    found = [queue_message(f"m{n}", *(event_body(f"e{n}-{each}") for each in range(99))) for n in range(3)]
    tried: list[object] = []

    def loses(parameters: Parameters) -> bool:
        if "TransactItems" in parameters:
            tried.append(parameters)
        return "TransactItems" in parameters and len(tried) % retries.MAX_ATTEMPTS != 0

    with watched() as calls:
        calls.fail_where(loses, lambda: transaction_conflict(2))
        assert consume(found) == []
    assert len(tried) == 3 * retries.MAX_ATTEMPTS
    assert used() == {"sub-1": 297}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        pytest.param(lambda: transaction_conflict(2), "ledger_busy", id="lost races"),
        pytest.param(timed_out, "database_unavailable", id="timeout"),
        pytest.param(validation_exception, "internal_error", id="a validation exception"),
    ],
)
def test_the_last_delivery_dead_letters_the_remaining_events_with_their_reason(
    ready: Api, error: Callable[[], BaseException], code: str
) -> None:
    found = queue_messages(event_body("a"), event_body("b"))
    with watched() as calls:
        calls.fail_where(transaction_on("sub-1"), error)
        assert consume(found, receives=redelivery.MAX_RECEIVES - 1) == ["m0", "m1"]
        assert dead() == []
        assert consume(found, receives=redelivery.MAX_RECEIVES) == []
    assert [row["code"] for row in dead()] == [code, code]
    answer = ready.post("/api/usage/dead-events/redrive", {"code": code}, headers=bearer(*ADMIN))
    assert answer.json == {"redriven": 2, "kept": 0}
    assert consume(take_messages()) == []
    assert (used(), dead()) == ({"sub-1": 2}, [])


def test_events_are_dead_lettered_only_when_the_rest_of_their_message_is_done(ready: Api) -> None:
    """Otherwise each delivery would dead-letter them once more."""
    found = [queue_message("m", event_body("dead", subscriptionId="unheard-of"), event_body("a"))]
    with watched() as calls:
        calls.fail_where(transaction_on("sub-1"), timed_out)
        assert consume(found) == ["m"]
    assert dead() == []
    assert consume(found) == []
    assert len(dead()) == 1
    assert used() == {"sub-1": 1}


def test_a_validation_exception_does_not_stop_other_subscriptions(ready: Api) -> None:
    for name in ("sub-0", "sub-2"):
        ready.subscribe(name)
    found = queue_messages(*(event_body("a", subscriptionId=f"sub-{n}") for n in range(3)))
    with watched() as calls:
        calls.fail_where(transaction_on("sub-1"), validation_exception)
        assert consume(found) == ["m1"]
    assert used() == {"sub-0": 1, "sub-2": 1}
    assert consume(found) == []
    assert used() == {"sub-0": 1, "sub-1": 1, "sub-2": 1}


def test_a_validation_exception_does_not_change_the_results_of_other_events(ready: Api) -> None:
    ready.subscribe("sub-2")
    with watched() as calls:
        calls.fail_where(transaction_on("sub-1"), validation_exception)
        answer = send_batch(ready, event_body("a"), event_body("b", subscriptionId="sub-2"), event_body("c", -1))
    assert (answer.status, statuses(answer)) == (200, ["rejected", "recorded", "rejected"])
    problems = [result["problem"] and result["problem"]["status"] for result in answer.json["results"]]
    assert problems == [500, None, 422]


# --- Postponed messages ---


def messages_in_flight(number: int) -> list[dict[str, Any]]:
    """Messages with one event each, received from the queue but not deleted."""
    sqs, url = boto3.client("sqs"), os.environ["USAGE_QUEUE_URL"]
    for each in queue_messages(*(event_body(f"e{n}") for n in range(number))):
        sqs.send_message(QueueUrl=url, MessageBody=each["Body"])
    found: list[dict[str, Any]] = []
    while len(found) < number:
        received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=1800)
        found += [dict(message) for message in received["Messages"]]
    return found


def hidden_seconds() -> set[int]:
    """The seconds for which the queue still hides its messages."""
    name = os.environ["USAGE_QUEUE_URL"].rpartition("/")[2]
    [queue] = [
        backend.queues[name]
        for regions in get_backend("sqs").values()
        for backend in regions.values()
        if name in backend.queues
    ]
    return {round(message.visible_at / 1000 - time.time()) for message in queue._messages}


@pytest.mark.parametrize(("receives", "seconds"), [(1, 15), (2, 30), (5, 240), (9, 3600)])
def test_a_failed_message_is_delivered_again_with_growing_delays(ready: Api, receives: int, seconds: int) -> None:
    found = messages_in_flight(12)
    with watched() as calls:
        calls.fail_where(transaction_on("sub-1"), timed_out)
        assert len(consume(found, receives=receives)) == 12
    [hidden] = hidden_seconds()
    assert abs(hidden - seconds) <= 1
    assert calls.made.count("ChangeMessageVisibilityBatch") == 2, "ten messages per call"


def test_a_recorded_message_is_not_postponed(ready: Api) -> None:
    with watched() as calls:
        assert consume(messages_in_flight(1)) == []
    assert "ChangeMessageVisibilityBatch" not in calls.made


@pytest.mark.parametrize("error", [timed_out, throttled])
def test_a_failed_call_to_postpone_changes_nothing(ready: Api, error: Callable[[], BaseException]) -> None:
    found = messages_in_flight(2)
    with watched() as calls:
        calls.fail_where(lambda parameters: "TransactItems" in parameters or "Entries" in parameters, error)
        assert sorted(consume(found)) == sorted(each["MessageId"] for each in found)
    assert consume(found) == []
    assert used() == {"sub-1": 2}


def test_an_invalid_receipt_handle_changes_nothing(ready: Api, caplog: pytest.LogCaptureFixture) -> None:
    with watched() as calls:
        calls.fail_where(transaction_on("sub-1"), timed_out)
        assert consume(queue_messages(event_body("a"))) == ["m0"]
    assert "deliveries not postponed" in caplog.messages


def test_nothing_is_postponed_when_time_is_up(ready: Api) -> None:
    found = messages_in_flight(1)
    with watched() as calls:
        assert len(consume(found, seconds=0)) == 1
    assert "ChangeMessageVisibilityBatch" not in calls.made
