"""Make each call to DynamoDB and SQS fail once, before or after it takes effect, and then retry without faults."""

import itertools
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from pynamodb.exceptions import PynamoDBException

from tests import ledgers, queue, quotas
from tests.builders import KEY, NOW, SERVICE, make_event, make_quota, make_subscription
from tests.deadlines import stopped
from tests.faults import Calls, Killed, When, every_fault, transaction_conflict, watched
from tests.metrics import Metrics
from tests.recording import record
from tests.runs import refuse_hand_over
from usage_billing.access.callers import Caller, Role
from usage_billing.billing import model as billing_model
from usage_billing.billing import runner
from usage_billing.billing import settlement as billing_settlement
from usage_billing.billing import store as settlement_store
from usage_billing.kernel.errors import BillingError, DatabaseUnavailable, LedgerBusy, SubscriptionInactive
from usage_billing.platform import tables
from usage_billing.platform.observability import metrics as written
from usage_billing.platform.start_times import StartTime
from usage_billing.subscriptions import store as subscription_store
from usage_billing.subscriptions.model import SubscriptionStatus
from usage_billing.usage import event_queue, guesses
from usage_billing.usage import store as ledger_store
from usage_billing.usage.dead_events import redriving
from usage_billing.usage.dead_events import store as dead_event_store
from usage_billing.usage.dead_events.dead_lettering import dead_letter
from usage_billing.usage.dead_events.model import DeadEvent, DeadLetter, Position, Selection
from usage_billing.usage.events import UsageEvent
from usage_billing.usage.intake import ingest
from usage_billing.usage.ledger import Head
from usage_billing.usage.messages import event_json, events_in
from usage_billing.usage.outcomes import Recorded
from usage_billing.usage.queue_consumer import Message, consume

UNREADABLE = "{"
SUBSCRIPTION = make_subscription()


@pytest.fixture(autouse=True)
def plan(aws: None, no_pauses: None) -> None:
    subscription_store.save_subscription(SUBSCRIPTION)
    save_quota("assessment")


def save_quota(usage_type: str) -> None:
    quotas.save_quota(make_quota(usage_type, monthly_limit=5, unit_price="2.5"))


def report(name: str, quantity: int = 3, usage_type: str = "assessment") -> Recorded:
    return record(make_event(name, quantity, usage_type=usage_type), NOW)


def run(hand_over: Callable[[billing_model.RunSegment], None] = refuse_hand_over) -> billing_model.RunTotals:
    return runner.run(runner.whole_run("sub-1"), now=lambda: NOW, deadline=stopped(900), hand_over=hand_over)


def fail_at_every_call(
    calls: Calls, when: When, error: Callable[[], BaseException], flow: Callable[[int], None]
) -> int:
    """Run `flow` with its n-th call failing, for n = 1, 2, ... until it makes fewer than n calls.

    Return the number of calls that it makes.
    """
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
def test_an_event_that_failed_at_any_call_counts_once_when_sent_again(
    when: When, error: Callable[[], BaseException], usage_type: str
) -> None:
    def flow(number: int) -> None:
        report(f"event-{number}", usage_type=usage_type)

    with watched() as calls:
        tried = fail_at_every_call(calls, when, error, flow)
    assert tried >= 2
    for number in range(1, tried + 1):
        report(f"event-{number}", usage_type=usage_type)
    save_quota("unrated")
    run()
    [ledger] = ledgers.check()
    assert {e["event_id"] for e in ledger.entries} == {f"event-{number}" for number in range(1, tried + 2)}
    assert list(ledgers.unsettled([ledger])) == []


@pytest.mark.parametrize(("when", "error"), every_fault())
def test_an_event_whose_ledger_is_guessed_wrong_counts_once_when_any_call_fails(
    when: When, error: Callable[[], BaseException]
) -> None:
    """Each event opens a ledger, and the period in which it lies is not the calendar month that is guessed."""
    subscription_store.save_subscription(make_subscription("sub-15", billing_anchor_day=15))

    def event(number: int) -> UsageEvent:
        return make_event(f"event-{number}", subscription_id="sub-15", usage_type=f"type-{number}")

    def flow(number: int) -> None:
        guesses.last_seen.clear()
        record(event(number), NOW)

    with watched() as calls:
        tried = fail_at_every_call(calls, when, error, flow)
    assert tried == 6, "two reads, the number of ledgers in the period, two for the quota, and the transaction"
    for number in range(1, tried + 1):
        record(event(number), NOW)
    found = ledgers.check()
    assert len(found) == tried + 1
    assert {ledger.head["used"] for ledger in found} == {1}


@pytest.mark.parametrize(("when", "error"), every_fault())
@pytest.mark.parametrize("known", [True, False])
def test_a_refused_event_that_failed_at_any_call_is_refused_or_replayed_when_sent_again(
    when: When, error: Callable[[], BaseException], known: bool
) -> None:
    report("known")
    paused = make_subscription(status=SubscriptionStatus.PAUSED)
    assert subscription_store.save_subscription(paused, SUBSCRIPTION)

    def flow(_: int) -> None:
        if known:
            assert report("known").replayed
        else:
            with pytest.raises(SubscriptionInactive):
                report("new")

    with watched() as calls:
        assert fail_at_every_call(calls, when, error, flow) == (3 if known else 2)
    [ledger] = ledgers.check()
    assert [entry["event_id"] for entry in ledger.entries] == ["known"]


@pytest.mark.parametrize(("when", "error"), every_fault())
def test_a_run_that_failed_at_any_call_is_completed_by_the_next(when: When, error: Callable[[], BaseException]) -> None:
    def flow(number: int) -> None:
        report(f"event-{number}")
        report(f"unrated-{number}", usage_type="unrated")
        if number == 3:
            save_quota("unrated")
        with watched() as calls:
            calls.fail(number, when, error)
            run(lambda _: None)
            calls_per_run.append(len(calls.made))

    calls_per_run: list[int] = []
    for number in range(1, 9):
        with suppress(DatabaseUnavailable, Killed):
            flow(number)
        ledgers.check()
    assert calls_per_run
    assert max(calls_per_run) < 9, "calls of a run that were never made to fail"
    run()
    totals = run()
    assert (totals.settled, totals.failures) == (0, 0)
    assert list(ledgers.unsettled(ledgers.check())) == []


def events_of_two_ledgers(number: int) -> list[UsageEvent]:
    """Two events, of two ledgers."""
    return [
        make_event(f"{usage_type}-{number}", 3, usage_type=usage_type, occurred_at=NOW)
        for usage_type in ("assessment", "unrated")
    ]


def check_all_settled(names: set[str]) -> None:
    """Check that a run settles everything, and that exactly these events are recorded, once each."""
    save_quota("unrated")
    assert run().failures == 0
    found = ledgers.check()
    assert list(ledgers.unsettled(found)) == []
    assert sorted(entry["event_id"] for ledger in found for entry in ledger.entries) == sorted(names)


def dead_contents() -> set[str]:
    """The ids of the dead events, and the bodies of the unreadable messages."""
    return {row.get("event_id") or row["content"] for row in queue.dead()}


@pytest.mark.parametrize(("when", "error"), every_fault())
@pytest.mark.parametrize("respond_async", [False, True])
@pytest.mark.parametrize("caller", [SERVICE, Caller("user-1", Role.USER)])
def test_a_batch_that_failed_at_any_call_counts_once_when_sent_again(
    when: When, error: Callable[[], BaseException], respond_async: bool, caller: Caller
) -> None:
    accepted: set[str] = set()
    if caller.role == Role.USER:  # users may record only usage types of their plan
        save_quota("unrated")

    def flow(number: int) -> None:
        for event, taken in zip(
            events_of_two_ledgers(number),
            ingest(events_of_two_ledgers(number), caller, NOW, respond_async=respond_async),
            strict=True,
        ):
            if not isinstance(taken, BillingError):
                accepted.add(event.event_id)

    with watched() as calls:
        tried = fail_at_every_call(calls, when, error, flow)
    least = 2 if caller.role == Role.USER else 1  # before an event is queued, only a user's subscription is looked up
    assert tried >= (least if respond_async else 4)
    assert queue.deliver(queue.receive(), NOW) == []
    assert accepted <= {e["event_id"] for ledger in ledgers.check() for e in ledger.entries}, (
        "accepted events are recorded"
    )
    events = [event for number in range(1, tried + 2) for event in events_of_two_ledgers(number)]
    assert all(isinstance(taken, Recorded) for taken in ingest(events, caller, NOW))
    check_all_settled({event.event_id for event in events})
    assert dead_contents() == set()


@pytest.mark.parametrize(("when", "error"), every_fault())
def test_a_delivery_that_failed_at_any_call_is_completed_by_the_next(
    when: When, error: Callable[[], BaseException]
) -> None:
    def delivery(number: int) -> list[Message]:
        doomed = make_event(f"dead-{number}", subscription_id="unheard-of")
        return [
            Message(f"{number}", _message_body(*events_of_two_ledgers(number), doomed), "receipt"),
            *(
                Message(f"{number}-alone-{event.event_id}", _message_body(event), "receipt")
                for event in events_of_two_ledgers(1000 + number)
            ),
            Message(f"{number}-unreadable", UNREADABLE, "receipt"),
        ]

    again: dict[int, list[Message]] = {}

    def flow(number: int) -> None:
        again[number] = delivery(number)
        failed = consume(again[number], NOW)
        again[number] = [message for message in again[number] if message.message_id in failed]

    with watched() as calls:
        tried = fail_at_every_call(calls, when, error, flow)
    assert tried >= 6, "subscriptions and heads, terms, two transactions and two dead events"
    for messages in again.values():
        assert consume(messages, NOW) == []
    numbers = range(1, tried + 2)
    check_all_settled(
        {event.event_id for number in numbers for n in (number, 1000 + number) for event in events_of_two_ledgers(n)}
    )
    assert dead_contents() == {f"dead-{number}" for number in numbers} | {UNREADABLE}


def _message_body(*events: UsageEvent) -> str:
    [message] = event_queue._messages(event_json(event, NOW) for event in events)
    return message.body


def make_dead_letters(number: int) -> list[DeadLetter]:
    """Three events that are dead for different reasons, and an unreadable message.

    The undelivered event is looked up before it is stored.
    """
    codes = ["subscription_not_found", "subscription_inactive", "undelivered"]
    return [
        *(DeadLetter(f"m-{number}", code, code, make_event(f"{number}-{n}")) for n, code in enumerate(codes)),
        DeadLetter(f"m-{number}", "unreadable", "not JSON", body=f"unreadable {number}"),
    ]


@pytest.mark.parametrize(("when", "error"), every_fault())
def test_an_event_reported_as_dead_lettered_is_stored_and_counted(
    when: When, error: Callable[[], BaseException], metrics: Metrics
) -> None:
    again: dict[int, list[DeadLetter]] = {}
    kept: set[str] = set()

    def flow(number: int) -> None:
        again[number] = make_dead_letters(number)
        outcomes = zip(again[number], dead_letter(again[number], NOW), strict=True)
        again[number] = []
        for letter, failure in outcomes:
            if failure:
                again[number].append(letter)
            else:
                kept.add(letter.event.event_id if letter.event else letter.body)

    with watched() as calls:
        assert fail_at_every_call(calls, when, error, flow) == 5
    assert kept <= dead_contents()
    for number, todo in again.items():
        assert dead_letter(todo, NOW) == [None] * len(todo), number
    assert dead_contents() == {f"{number}-{n}" for number in range(1, 7) for n in range(3)} | {
        f"unreadable {number}" for number in range(1, 7)
    }
    written.flush_metrics()
    # If the process is killed between write and count, the event is counted in the next delivery, maybe with others.
    assert metrics()["EventsDead"] >= 6 * 4


@pytest.mark.parametrize(("when", "error"), every_fault())
@pytest.mark.parametrize("by_id", [False, True])
def test_a_redrive_that_failed_at_any_call_neither_loses_nor_duplicates_events(
    when: When, error: Callable[[], BaseException], by_id: bool
) -> None:
    subscription_store.save_subscription(make_subscription("late"))
    died: set[str] = set()

    def redrive(calls: Calls, number: int) -> int:
        """Redrive three events and an unreadable message while the n-th call fails. Return the number of calls."""
        events = [make_event(f"{number}-{n}", subscription_id="late", occurred_at=NOW) for n in range(3)]
        assert dead_letter([*(DeadLetter("m", "internal_error", "?", event) for event in events)], NOW) == [None] * 3
        assert dead_letter([DeadLetter("m", "unreadable", "not JSON", body=UNREADABLE)], NOW) == [None]
        died.update(event.event_id for event in events)
        ids = [each.id for each in [*dead_events("internal_error"), *dead_events("unreadable")]]
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
            waiting = {event.event_id for event in queued_events()}
            assert recorded | waiting | dead_contents() >= died, "nothing is lost at any point"
            redriving.redrive(dead_events("internal_error"))
    assert number > 6
    messages = queue.receive()
    assert queue.deliver(messages, NOW) == []
    queue.delete(messages)
    assert dead_contents() == {UNREADABLE}, "an unreadable message is kept"
    [ledger] = ledgers.check()
    assert {entry["event_id"] for entry in ledger.entries} == died


def dead_events(code: str) -> list[DeadEvent]:
    found, rest = dead_event_store.page(Selection(code), 100, Position())
    assert rest is None
    return found


def queued_events() -> list[UsageEvent]:
    """The events in the queue. They stay there."""
    messages = queue.receive()
    found = [each for message in messages if message["Body"] != UNREADABLE for each in events_in(message["Body"])]
    queue.show_again(messages)
    return found


def test_a_transaction_conflict_is_retried_until_it_is_over() -> None:
    report("first")
    with watched() as calls:
        three_times = iter(range(3))

        def conflict(model: Any, **_: object) -> None:
            if model.name == "TransactWriteItems" and next(three_times, None) is not None:
                raise transaction_conflict(items=2)

        tables.connection().client.meta.events.register("before-call.dynamodb", conflict)
        assert report("second").entry.sequence == 2
    assert calls.made.count("TransactWriteItems") == 4
    ledgers.check()


def test_an_event_of_a_ledger_that_stays_busy_is_rejected_and_nothing_is_written() -> None:
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


def stored_head() -> Head:
    head = ledger_store.head(KEY)
    assert head
    return head


def test_an_entry_recorded_during_a_settlement_stays_pending() -> None:
    report("first", 10)
    report("second", 1)
    head = stored_head()
    settlement = billing_settlement.settle(head, "run", NOW)
    report("third", 1)
    settlement_store.save_settlement(settlement, head)
    [ledger] = ledgers.check()
    assert (ledger.head["billed_through"], ledger.head["last_sequence"]) == (2, 3)
    assert run().settled == 1
    assert list(ledgers.unsettled(ledgers.check())) == []


def test_an_event_recorded_on_a_head_read_before_a_settlement_does_not_undo_it() -> None:
    report("first", 10)
    report("second", 1)
    head = stored_head()
    run()
    entry, after = head.append(make_event("third"), NOW)
    ledger_store.append(head, [entry], after, StartTime.now())
    [ledger] = ledgers.check()
    assert (ledger.head["billed_through"], ledger.head["last_sequence"]) == (2, 3)


def test_terms_are_pinned_once_when_recording_and_billing_both_find_the_quota() -> None:
    head = report("first", 10, "unrated").head
    save_quota("unrated")
    assert report("second", 1, "unrated").head.terms
    quotas.save_quota(make_quota("unrated", monthly_limit=0, unit_price=100, unit_name="unit"))
    terms = quotas.terms_of("business", "unrated")
    assert terms
    settlement = billing_settlement.settle(head.rated(terms), "run", NOW)
    with pytest.raises(ledger_store.HeadMoved):
        settlement_store.save_settlement(settlement, head)
    run()
    [ledger] = ledgers.check()
    assert ledger.head["billed_amount"] == Decimal(15)
