"""The daily run: its schedule, its queue, its deadline."""

import os
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import boto3
import pytest

import run_billing
from tests.api import Api, Context
from tests.conftest import REGION
from tests.faults import throttled, watched
from tests.ledgers import check, unsettled
from usage_billing.billing import runner
from usage_billing.billing import store as settlement_store
from usage_billing.billing.model import RunSegment
from usage_billing.kernel import shards
from usage_billing.kernel.errors import QueueUnavailable
from usage_billing.platform import caches
from usage_billing.usage import store as ledger_store
from usage_billing.usage.ledger import Head, LedgerKey

SCHEDULED = {
    "version": "0",
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "time": "2026-11-20T00:00:00Z",
    "region": REGION,
    "detail": {},
}
LEDGERS = 12


def queued(*bodies: str) -> dict[str, Any]:
    """An invocation by SQS, as its event source mapping makes it."""
    return {"Records": [{"messageId": str(n), "eventSource": "aws:sqs", "body": body} for n, body in enumerate(bodies)]}


def waiting() -> list[str]:
    """The messages of the billing queue, taken off it."""
    sqs, found = boto3.client("sqs"), []
    url = os.environ["BILLING_QUEUE_URL"]
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            found.append(message["Body"])
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


@pytest.fixture
def many(ready: Api, monkeypatch: pytest.MonkeyPatch) -> Api:
    """Ledgers of many subscriptions, of which one invocation without time takes on two."""
    monkeypatch.setattr(runner, "IN_FLIGHT", 2)
    for number in range(LEDGERS):
        ready.subscribe(f"sub-{number}")
        ready.record(f"e{number}", 51, subscriptionId=f"sub-{number}")
    return ready


def test_the_schedule_bills_everything(many: Api) -> None:
    assert run_billing.handler(SCHEDULED, Context()) is None
    assert list(unsettled(check())) == []
    assert waiting() == []
    assert many.bill().json["ledgersSettled"] == 0


def test_an_operator_may_invoke_it_with_anything(many: Api) -> None:
    run_billing.handler({}, Context())
    assert list(unsettled(check())) == []


def test_what_there_is_no_time_for_goes_to_the_queue_until_all_is_settled(many: Api) -> None:
    run_billing.handler(SCHEDULED, Context(seconds=0))
    assert len(list(unsettled(check()))) == LEDGERS - 2
    messages, settled, invocations = waiting(), {2}, 0
    runs = {RunSegment.model_validate_json(message).run_id for message in messages}
    while messages:
        before = len(list(unsettled(check())))
        run_billing.handler(queued(messages.pop(0)), Context(seconds=0))
        messages += waiting()
        settled.add(before - len(list(unsettled(check()))))
        runs |= {RunSegment.model_validate_json(message).run_id for message in messages}
        invocations += 1
        assert invocations < 50
    assert list(unsettled(check())) == []
    assert max(settled) <= 2
    assert len(runs) == 1, "it is one run"
    assert {item["runId"] for n in range(LEDGERS) for item in many.items(f"sub-{n}")} == runs


def invoice_of(api: Api, number: int) -> dict[str, Any]:
    [invoice] = api.get("/api/invoices", query={"subscriptionId": f"sub-{number}"}).json["invoices"]
    return dict(invoice)


def test_a_caller_is_told_that_a_run_continues(many: Api) -> None:
    answer = many.post("/api/usage/process-billing", seconds=0).json
    assert (answer["status"], answer["ledgersSettled"], answer["totals"]) == ("continues", 2, {"USD": "20.00"})
    run_billing.handler(queued(*waiting()), Context())
    assert list(unsettled(check())) == []


def test_a_run_of_one_subscription_continues_too(ready: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "IN_FLIGHT", 1)
    for usage_type in ("a", "b", "c"):
        ready.plan(usage_type=usage_type, limit=0)
        ready.record(usage_type, 1, usageType=usage_type)
    answer = ready.post("/api/usage/process-billing", {"subscriptionId": "sub-1"}, seconds=0).json
    assert (answer["status"], answer["ledgersSettled"]) == ("continues", 1)
    [message] = waiting()
    assert RunSegment.model_validate_json(message).subscription_id == "sub-1"
    run_billing.handler(queued(message), Context())
    assert list(unsettled(check())) == []


def test_a_message_that_comes_twice_bills_once(many: Api) -> None:
    run_billing.handler(SCHEDULED, Context(seconds=0))
    messages = waiting()
    for _ in range(2):
        run_billing.handler(queued(*messages), Context())
    assert {invoice_of(many, number)["total"] for number in range(LEDGERS)} == {"10.00"}
    check()


def test_a_message_that_is_none_of_ours_is_an_error_so_that_it_ends_in_the_dead_letter_queue(aws: None) -> None:
    for body in ("", "{}", "no JSON", '{"run_id": "r", "unknown": 1}'):
        with pytest.raises(ValueError):  # noqa: PT011
            run_billing.handler(queued(body), Context())


def test_a_queue_that_takes_nothing_is_an_error_and_what_was_settled_stays(
    many: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BILLING_QUEUE_URL", os.environ["BILLING_QUEUE_URL"] + "-missing")
    caches.clear_all()
    with pytest.raises(QueueUnavailable):
        run_billing.handler(SCHEDULED, Context(seconds=0))
    assert len(list(unsettled(check()))) == LEDGERS - 2


def test_a_shard_that_cannot_be_listed_is_a_failure_and_the_others_are_billed(
    many: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    pending = settlement_store.pending
    lost = next(shard for shard in map(str, range(shards.SHARDS)) if list(pending(shard)))
    missed = len(list(pending(lost)))

    def broken(shard: str, *after: Any) -> Any:
        if shard == lost:
            raise ConnectionError
        return pending(shard, *after)

    with monkeypatch.context() as failing:
        failing.setattr(settlement_store, "pending", broken)
        answer = many.bill().json
    assert (answer["failures"], answer["ledgersSettled"]) == (1, LEDGERS - missed)
    assert many.bill().json["ledgersSettled"] == missed


def test_a_ledger_that_is_listed_but_settled_meanwhile_is_left_alone(
    ready: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready.record(quantity=60)
    [key] = [key for shard in range(shards.SHARDS) for key in settlement_store.pending(str(shard))]
    ready.bill()
    monkeypatch.setattr(settlement_store, "pending", lambda shard, *_: iter([key] if shard == "0" else []))
    answer = ready.bill().json
    assert (answer["ledgersSettled"], answer["itemsCreated"], answer["failures"]) == (0, 0, 0)
    check()


def no_heads(keys: Sequence[LedgerKey]) -> NoReturn:
    raise throttled()


def half_of_the_heads(
    keys: Sequence[LedgerKey], read: Callable[..., Any] = ledger_store.heads_of
) -> dict[LedgerKey, Head]:
    """DynamoDB may leave out what it has no capacity for."""
    return read(keys[::2])


@pytest.mark.parametrize("answer", [no_heads, half_of_the_heads])
def test_heads_that_cannot_be_read_together_are_read_one_by_one(
    many: Api, monkeypatch: pytest.MonkeyPatch, answer: Callable[..., Any]
) -> None:
    monkeypatch.setattr(ledger_store, "heads_of", answer)
    totals = many.bill().json
    assert (totals["ledgersSettled"], totals["failures"]) == (LEDGERS, 0)
    assert list(unsettled(check())) == []


def test_many_heads_are_read_with_one_call(many: Api) -> None:
    keys = [key for shard in range(shards.SHARDS) for key in settlement_store.pending(str(shard))]
    unknown = LedgerKey("sub-0", keys[0].period_start, "unknown")
    asked: list[dict[str, Any]] = []
    with watched() as calls:
        calls.at(1, "before", asked.append)
        heads = ledger_store.heads_of([*keys, unknown, *keys])
    assert calls.made == ["BatchGetItem"]
    assert all(each["ConsistentRead"] for each in asked[0]["RequestItems"].values()), "a stale head would stay pending"
    assert heads == {key: ledger_store.head(key) for key in keys}


def test_a_run_reads_no_head_twice(many: Api) -> None:
    with watched() as calls:
        assert many.bill().json["ledgersSettled"] == LEDGERS
    assert "GetItem" not in calls.made
    assert calls.made.count("TransactWriteItems") == LEDGERS
