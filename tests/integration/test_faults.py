"""Every call to DynamoDB fails once, before and after it took effect; a clean retry and a clean run mend it all."""

import itertools
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from pynamodb.exceptions import PynamoDBException

from tests import ledgers, queue
from tests.deadlines import stopped
from tests.faults import FAULTS, Calls, Killed, When, transaction_conflict, watched
from tests.recording import record
from usage_billing.access.callers import Caller, Role
from usage_billing.billing import model as billing_model
from usage_billing.billing import runner
from usage_billing.billing import settlement as billing_settlement
from usage_billing.billing import store as settlement_store
from usage_billing.kernel.errors import BillingError, DatabaseUnavailable, LedgerBusy
from usage_billing.plans import store as quota_store
from usage_billing.plans.model import Quota
from usage_billing.platform import retries, tables
from usage_billing.platform.observability import metrics as written
from usage_billing.pricing.unit import UnitPriced
from usage_billing.subscriptions import store as subscription_store
from usage_billing.subscriptions.model import Subscription
from usage_billing.usage import queue as usage_queue
from usage_billing.usage import store as ledger_store
from usage_billing.usage.consumer import Message, consume
from usage_billing.usage.dead_events import redriving
from usage_billing.usage.dead_events import store as dead_event_store
from usage_billing.usage.dead_events.dead_lettering import dead_letter
from usage_billing.usage.dead_events.model import DeadEvent, DeadLetter, Position, Selection
from usage_billing.usage.events import UsageEvent
from usage_billing.usage.intake import ingest
from usage_billing.usage.messages import event_json, events_in
from usage_billing.usage.outcomes import Recorded

UNREADABLE = "{"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SUBSCRIPTION = Subscription(subscription_id="sub-1", user_id="user-1", plan_id="business")


@pytest.fixture(autouse=True)
def plan(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0)
    subscription_store.save_subscription(SUBSCRIPTION)
    save_quota("assessment")


def save_quota(usage_type: str) -> None:
    terms = {"monthly_limit": Decimal(5), "price": UnitPriced(Decimal("2.5")), "unit_name": usage_type}
    quota_store.save_quota(Quota(plan_id="business", usage_type=usage_type, **terms))


def report(name: str, quantity: int = 3, usage_type: str = "assessment") -> Recorded:
    return record(UsageEvent(name, "user-1", "sub-1", usage_type, Decimal(quantity)), SUBSCRIPTION, NOW)


def run(hand_over: Callable[[billing_model.RunSegment], None] = pytest.fail) -> billing_model.RunTotals:
    return runner.run(billing_model.whole_run("sub-1"), now=lambda: NOW, deadline=stopped(900), hand_over=hand_over)


def every_fault() -> list[object]:
    return [
        pytest.param(when, error, id=f"{name}, {when} it took effect")
        for when, (name, error) in itertools.product(("before", "after"), FAULTS.items())
    ]


def fails_at_every_call(
    calls: Calls, when: When, error: Callable[[], BaseException], flow: Callable[[int], None]
) -> int:
    """Run `flow` with its n-th call failing, for n = 1, 2, ... until it has no n-th call; how many it has."""
    for number in itertools.count(1):
        calls.fail(number, when, error)
        made = len(calls.made)
        with suppress(DatabaseUnavailable, Killed):
            flow(number)
        calls.calm()
        if len(calls.made) - made < number:
            return number - 1
    raise AssertionError


@pytest.mark.parametrize(("when", "error"), every_fault())
@pytest.mark.parametrize("usage_type", ["assessment", "unrated"])
def test_a_recording_that_failed_anywhere_counts_once_when_sent_again(
    when: When, error: Callable[[], BaseException], usage_type: str
) -> None:
    def flow(number: int) -> None:
        report(f"event-{number}", usage_type=usage_type)

    with watched() as calls:
        tried = fails_at_every_call(calls, when, error, flow)
    assert tried >= 2
    for number in range(1, tried + 1):
        report(f"event-{number}", usage_type=usage_type)
    save_quota("unrated")
    run()
    [ledger] = ledgers.check()
    assert {e["event_id"] for e in ledger.entries} == {f"event-{number}" for number in range(1, tried + 2)}
    assert list(ledgers.unsettled([ledger])) == []


@pytest.mark.parametrize(("when", "error"), every_fault())
def test_a_run_that_failed_anywhere_is_mended_by_a_clean_one(when: When, error: Callable[[], BaseException]) -> None:
    def flow(number: int) -> None:
        report(f"event-{number}")
        report(f"unrated-{number}", usage_type="unrated")
        if number == 3:
            save_quota("unrated")
        with watched() as calls:
            calls.fail(number, when, error)
            run(lambda _: None)
            tries.append(len(calls.made))

    tries: list[int] = []
    for number in range(1, 9):
        with suppress(DatabaseUnavailable, Killed):
            flow(number)
        ledgers.check()
    assert tries
    assert max(tries) < 9, "calls of a run that were never made to fail"
    run()
    totals = run()
    assert (totals.settled, totals.failures) == (0, 0)
    assert list(ledgers.unsettled(ledgers.check())) == []


def both(number: int) -> list[UsageEvent]:
    """Two events of two ledgers."""
    return [
        UsageEvent(f"{usage_type}-{number}", "user-1", "sub-1", usage_type, Decimal(3), NOW)
        for usage_type in ("assessment", "unrated")
    ]


def settled(names: set[str]) -> None:
    """A clean run settles everything, and exactly these events are recorded, once each."""
    save_quota("unrated")
    assert run().failures == 0
    found = ledgers.check()
    assert list(ledgers.unsettled(found)) == []
    assert sorted(entry["event_id"] for ledger in found for entry in ledger.entries) == sorted(names)


def dead() -> set[str]:
    """The ids of the dead events; the body of a message that holds none."""
    return {row.get("event_id") or row["content"] for row in queue.dead()}


@pytest.mark.parametrize(("when", "error"), every_fault())
@pytest.mark.parametrize("respond_async", [False, True])
@pytest.mark.parametrize("caller", [Caller("key:test", Role.INTERNAL), Caller("user-1", Role.USER)])
def test_a_batch_that_failed_anywhere_counts_once_when_sent_again(
    when: When, error: Callable[[], BaseException], respond_async: bool, caller: Caller
) -> None:
    accepted: set[str] = set()
    if caller.role == Role.USER:  # who may record only what their plan has a quota for
        save_quota("unrated")

    def flow(number: int) -> None:
        subscription_store.recent.clear()
        for event, taken in zip(
            both(number), ingest(both(number), caller, NOW, respond_async=respond_async), strict=True
        ):
            if not isinstance(taken, BillingError):
                accepted.add(event.event_id)

    with watched() as calls:
        tried = fails_at_every_call(calls, when, error, flow)
    least = 2 if caller.role == Role.USER else 1  # only a user's subscription is looked up before it is queued
    assert tried >= (least if respond_async else 6)
    assert queue.deliver(queue.receive(), NOW) == []
    assert accepted <= {e["event_id"] for ledger in ledgers.check() for e in ledger.entries}, "what is accepted is kept"
    events = [event for number in range(1, tried + 2) for event in both(number)]
    assert all(isinstance(taken, Recorded) for taken in ingest(events, caller, NOW))
    settled({event.event_id for event in events})
    assert dead() == set()


@pytest.mark.parametrize(("when", "error"), every_fault())
def test_a_delivery_that_failed_anywhere_is_mended_by_another(when: When, error: Callable[[], BaseException]) -> None:
    def delivery(number: int) -> list[Message]:
        doomed = UsageEvent(f"dead-{number}", "user-1", "unheard-of", "assessment", Decimal(1))
        return [
            Message(f"{number}", _body(*both(number), doomed), "receipt"),
            *(Message(f"{number}-alone-{event.event_id}", _body(event), "receipt") for event in both(1000 + number)),
            Message(f"{number}-unreadable", UNREADABLE, "receipt"),
        ]

    again: dict[int, list[Message]] = {}

    def flow(number: int) -> None:
        subscription_store.recent.clear()
        again[number] = delivery(number)
        failed = consume(again[number], NOW)
        again[number] = [message for message in again[number] if message.message_id in failed]

    with watched() as calls:
        tried = fails_at_every_call(calls, when, error, flow)
    assert tried >= 7, "subscriptions, heads, terms, transactions and two dead events"
    for messages in again.values():
        assert consume(messages, NOW) == []
    numbers = range(1, tried + 2)
    settled({event.event_id for number in numbers for n in (number, 1000 + number) for event in both(n)})
    assert dead() == {f"dead-{number}" for number in numbers} | {UNREADABLE}


def _body(*events: UsageEvent) -> str:
    [message] = usage_queue._messages(event_json(event, NOW) for event in events)
    return message.body


def letters(number: int) -> list[DeadLetter]:
    """Three events that are dead for different reasons, of which one is looked up first; a message without events."""
    codes = ["subscription_not_found", "subscription_inactive", "undelivered"]
    return [
        *(
            DeadLetter(f"m-{number}", code, code, UsageEvent(f"{number}-{n}", "u", "s", "t", Decimal(1)))
            for n, code in enumerate(codes)
        ),
        DeadLetter(f"m-{number}", "unreadable", "not JSON", body=f"unreadable {number}"),
    ]


@pytest.mark.parametrize(("when", "error"), every_fault())
def test_what_is_said_to_be_kept_is_kept_and_counted(
    when: When, error: Callable[[], BaseException], metrics: Callable[[], dict[str, float]]
) -> None:
    again: dict[int, list[DeadLetter]] = {}
    kept: set[str] = set()

    def flow(number: int) -> None:
        again[number] = letters(number)
        outcomes = zip(again[number], dead_letter(again[number], NOW), strict=True)
        again[number] = []
        for letter, failure in outcomes:
            if failure:
                again[number].append(letter)
            else:
                kept.add(letter.event.event_id if letter.event else letter.body)

    with watched() as calls:
        assert fails_at_every_call(calls, when, error, flow) == 5
    assert kept <= dead()
    for number, todo in again.items():
        assert dead_letter(todo, NOW) == [None] * len(todo), number
    assert dead() == {f"{number}-{n}" for number in range(1, 7) for n in range(3)} | {
        f"unreadable {number}" for number in range(1, 7)
    }
    written.flush_metrics()
    # Killed after a write, before it was counted: counted when the message comes again, perhaps with its neighbors.
    assert metrics()["EventsDead"] >= 6 * 4


@pytest.mark.parametrize(("when", "error"), every_fault())
@pytest.mark.parametrize("by_id", [False, True])
def test_a_redrive_that_failed_anywhere_loses_nothing_and_doubles_nothing(
    when: When, error: Callable[[], BaseException], by_id: bool
) -> None:
    subscription_store.save_subscription(replace(SUBSCRIPTION, subscription_id="late"))
    died: set[str] = set()

    def redrive(calls: Calls, number: int) -> int:
        """Redrive three events and an unreadable message while the n-th call fails; how many calls there were."""
        events = [UsageEvent(f"{number}-{n}", "user-1", "late", "assessment", Decimal(1), NOW) for n in range(3)]
        assert dead_letter([*(DeadLetter("m", "internal_error", "?", event) for event in events)], NOW) == [None] * 3
        assert dead_letter([DeadLetter("m", "unreadable", "not JSON", body=UNREADABLE)], NOW) == [None]
        died.update(event.event_id for event in events)
        ids = [each.id for each in [*listed("internal_error"), *listed("unreadable")]]
        made = len(calls.made)
        calls.fail(number, when, error)
        with suppress(Killed, PynamoDBException, ClientError, BotoCoreError):
            for selection in [Selection()] if by_id else [Selection("internal_error"), Selection("unreadable")]:
                found, rest = redriving.select(selection, ids if by_id else None, None, NOW)
                assert rest is None
                redriving.redrive(found)
        calls.calm()
        return len(calls.made) - made

    with watched() as calls:
        for number in itertools.count(1):
            if redrive(calls, number) < number:
                break
            recorded = {entry["event_id"] for ledger in ledgers.check() for entry in ledger.entries}
            waiting = {event.event_id for event in queued()}
            assert recorded | waiting | dead() >= died, "nothing is lost at any point"
            redriving.redrive(listed("internal_error"))
    assert number > 6
    messages = queue.receive()
    assert queue.deliver(messages, NOW) == []
    queue.delete(messages)
    assert dead() == {UNREADABLE}, "what still cannot be read is kept still"
    [ledger] = ledgers.check()
    assert {entry["event_id"] for entry in ledger.entries} == died


def listed(code: str) -> list[DeadEvent]:
    found, rest = dead_event_store.page(Selection(code), 100, Position())
    assert rest is None
    return found


def queued() -> list[UsageEvent]:
    """The events in the queue, which stay there."""
    messages = queue.receive()
    found = [each for message in messages if message["Body"] != UNREADABLE for each in events_in(message["Body"])]
    queue.show_again(messages)
    return found


def test_a_transaction_conflict_is_tried_again_until_it_is_over() -> None:
    report("first")
    with watched() as calls:
        for_three_tries = iter(range(3))

        def conflict(model: object, **_: object) -> None:
            if model.name == "TransactWriteItems" and next(for_three_tries, None) is not None:
                raise transaction_conflict(items=2)

        tables.connection().client.meta.events.register("before-call.dynamodb", conflict)
        assert report("second").entry.sequence == 2
    assert calls.made.count("TransactWriteItems") == 4
    ledgers.check()


def test_a_ledger_that_never_comes_free_is_refused_with_nothing_written() -> None:
    report("first")
    conflict = partial(_conflict, items=2)
    tables.connection().client.meta.events.register("before-call.dynamodb.TransactWriteItems", conflict)
    with pytest.raises(LedgerBusy):
        report("second")
    tables.connection().client.meta.events.unregister("before-call.dynamodb.TransactWriteItems", conflict)
    [ledger] = ledgers.check()
    assert [entry["event_id"] for entry in ledger.entries] == ["first"]
    assert not report("second").replayed


def _conflict(items: int, **_: object) -> None:
    raise transaction_conflict(items)


def test_an_entry_that_comes_while_its_ledger_is_settled_stays_pending() -> None:
    report("first", 10)
    head = ledger_store.head(report("second", 1).head.key)
    settlement = billing_settlement.settle(head, "run", NOW)
    report("third", 1)
    settlement_store.save_settlement(settlement, head)
    [ledger] = ledgers.check()
    assert (ledger.head["billed_through"], ledger.head["last_sequence"]) == (2, 3)
    assert run().settled == 1
    assert list(ledgers.unsettled(ledgers.check())) == []


def test_a_recorder_that_read_before_a_settlement_does_not_undo_it() -> None:
    report("first", 10)
    head = ledger_store.head(report("second", 1).head.key)
    run()
    entry, after = head.append(UsageEvent("third", "user-1", "sub-1", "assessment", Decimal(1)), NOW)
    ledger_store.append(head, [entry], after)
    [ledger] = ledgers.check()
    assert (ledger.head["billed_through"], ledger.head["last_sequence"]) == (2, 3)


def test_terms_are_pinned_once_when_recording_and_billing_both_find_the_quota() -> None:
    head = report("first", 10, "unrated").head
    save_quota("unrated")
    assert report("second", 1, "unrated").head.terms
    quota_store.save_quota(
        Quota(
            plan_id="business",
            usage_type="unrated",
            monthly_limit=Decimal(0),
            price=UnitPriced(Decimal(100)),
            unit_name="unit",
        )
    )
    settlement = billing_settlement.settle(head.rated(quota_store.terms("business", "unrated")), "run", NOW)
    with pytest.raises(ledger_store.HeadMoved):
        settlement_store.save_settlement(settlement, head)
    run()
    [ledger] = ledgers.check()
    assert ledger.head["billed_amount"] == Decimal(15)
