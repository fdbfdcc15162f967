"""The daily billing run: its schedule, its run segments and its deadline."""

import os
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import pytest

import run_billing
from tests.api import Api, Context
from tests.faults import throttled, watched
from tests.ledgers import check, unsettled
from tests.runs import LEDGERS, SCHEDULED, sqs_event, take_segments
from usage_billing.billing import runner
from usage_billing.billing import store as settlement_store
from usage_billing.billing.model import RunSegment
from usage_billing.kernel import shards
from usage_billing.kernel.errors import QueueUnavailable
from usage_billing.platform import caches
from usage_billing.usage import store as ledger_store
from usage_billing.usage.ledger import Head, LedgerKey


def test_the_scheduled_run_bills_all_ledgers(many_ledgers: Api) -> None:
    assert run_billing.handler(SCHEDULED, Context()) is None
    assert list(unsettled(check())) == []
    assert take_segments() == []
    assert many_ledgers.bill().json["ledgersSettled"] == 0


def test_the_function_can_be_invoked_with_an_empty_event(many_ledgers: Api) -> None:
    run_billing.handler({}, Context())
    assert list(unsettled(check())) == []


def test_a_run_without_time_continues_in_segments_until_all_ledgers_are_settled(many_ledgers: Api) -> None:
    run_billing.handler(SCHEDULED, Context(seconds=0))
    assert len(list(unsettled(check()))) == LEDGERS - 2
    messages, settled, invocations = take_segments(), {2}, 0
    runs = {RunSegment.model_validate_json(message).run_id for message in messages}
    while messages:
        before = len(list(unsettled(check())))
        run_billing.handler(sqs_event(messages.pop(0)), Context(seconds=0))
        messages += take_segments()
        settled.add(before - len(list(unsettled(check()))))
        runs |= {RunSegment.model_validate_json(message).run_id for message in messages}
        invocations += 1
        assert invocations < 50
    assert list(unsettled(check())) == []
    assert max(settled) <= 2
    assert len(runs) == 1, "all segments belong to one run"
    assert {item["runId"] for n in range(LEDGERS) for item in many_ledgers.items(f"sub-{n}")} == runs


def invoice_of(api: Api, number: int) -> dict[str, Any]:
    [invoice] = api.get("/api/invoices", query={"subscriptionId": f"sub-{number}"}).json["invoices"]
    return dict(invoice)


def test_the_response_says_that_a_run_continues(many_ledgers: Api) -> None:
    answer = many_ledgers.post("/api/usage/process-billing", seconds=0).json
    assert (answer["status"], answer["ledgersSettled"], answer["totals"]) == ("continues", 2, {"USD": "20.00"})
    run_billing.handler(sqs_event(*take_segments()), Context())
    assert list(unsettled(check())) == []


def test_a_run_for_one_subscription_can_continue_too(ready: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "IN_FLIGHT", 1)
    for usage_type in ("a", "b", "c"):
        ready.plan(usage_type=usage_type, limit=0)
        ready.record(usage_type, 1, usageType=usage_type)
    answer = ready.post("/api/usage/process-billing", {"subscriptionId": "sub-1"}, seconds=0).json
    assert (answer["status"], answer["ledgersSettled"]) == ("continues", 1)
    [message] = take_segments()
    assert RunSegment.model_validate_json(message).subscription_id == "sub-1"
    run_billing.handler(sqs_event(message), Context())
    assert list(unsettled(check())) == []


def test_a_segment_that_is_delivered_twice_bills_once(many_ledgers: Api) -> None:
    run_billing.handler(SCHEDULED, Context(seconds=0))
    messages = take_segments()
    for _ in range(2):
        run_billing.handler(sqs_event(*messages), Context())
    assert {invoice_of(many_ledgers, number)["total"] for number in range(LEDGERS)} == {"10.00"}
    check()


def test_an_unreadable_message_is_an_error_so_that_sqs_moves_it_to_the_dead_letter_queue(aws: None) -> None:
    for body in ("", "{}", "no JSON", '{"run_id": "r", "unknown": 1}'):
        with pytest.raises(ValueError):  # noqa: PT011
            run_billing.handler(sqs_event(body), Context())


def test_if_segments_cannot_be_enqueued_the_run_fails_and_settled_ledgers_stay_settled(
    many_ledgers: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BILLING_QUEUE_URL", os.environ["BILLING_QUEUE_URL"] + "-missing")
    caches.clear_all()
    with pytest.raises(QueueUnavailable):
        run_billing.handler(SCHEDULED, Context(seconds=0))
    assert len(list(unsettled(check()))) == LEDGERS - 2


def test_if_a_shard_cannot_be_listed_the_others_are_billed(many_ledgers: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    pending = settlement_store.pending
    lost = next(shard for shard in map(str, range(shards.SHARDS)) if list(pending(shard)))
    missed = len(list(pending(lost)))

    def broken(shard: str, *after: Any) -> Any:
        if shard == lost:
            raise ConnectionError
        return pending(shard, *after)

    with monkeypatch.context() as failing:
        failing.setattr(settlement_store, "pending", broken)
        answer = many_ledgers.bill().json
    assert (answer["failures"], answer["ledgersSettled"]) == (1, LEDGERS - missed)
    assert many_ledgers.bill().json["ledgersSettled"] == missed


def test_a_ledger_settled_after_it_was_listed_is_skipped(ready: Api, monkeypatch: pytest.MonkeyPatch) -> None:
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
    keys: Sequence[LedgerKey], read: Callable[[Sequence[LedgerKey]], dict[LedgerKey, Head]] = ledger_store.heads_of
) -> dict[LedgerKey, Head]:
    """DynamoDB may leave out items for lack of capacity."""
    return read(keys[::2])


@pytest.mark.parametrize("answer", [no_heads, half_of_the_heads])
def test_heads_that_a_batch_read_does_not_return_are_read_one_by_one(
    many_ledgers: Api, monkeypatch: pytest.MonkeyPatch, answer: Callable[..., Any]
) -> None:
    monkeypatch.setattr(ledger_store, "heads_of", answer)
    totals = many_ledgers.bill().json
    assert (totals["ledgersSettled"], totals["failures"]) == (LEDGERS, 0)
    assert list(unsettled(check())) == []


def test_many_heads_are_read_in_one_call(many_ledgers: Api) -> None:
    keys = [key for shard in range(shards.SHARDS) for key in settlement_store.pending(str(shard))]
    unknown = LedgerKey("sub-0", keys[0].period_start, "unknown")
    requests: list[dict[str, Any]] = []
    with watched() as calls:
        calls.at(1, "before", requests.append)
        heads = ledger_store.heads_of([*keys, unknown, *keys])
    assert calls.made == ["BatchGetItem"]
    assert all(each["ConsistentRead"] for each in requests[0]["RequestItems"].values()), (
        "a stale head would stay pending"
    )
    assert heads == {key: ledger_store.head(key) for key in keys}


def test_a_run_reads_no_head_twice(many_ledgers: Api) -> None:
    with watched() as calls:
        assert many_ledgers.bill().json["ledgersSettled"] == LEDGERS
    assert "GetItem" not in calls.made
    assert calls.made.count("TransactWriteItems") == LEDGERS
