"""Random operations while any call may fail: one retry and one billing run always complete the ledgers.

At any call to DynamoDB or SQS, before or after it takes effect, there may be a timeout, throttling, a conflict, an
internal error, the end of the process, another recorder or another billing run. Deliveries are repeated and reordered,
callers' clocks differ, periods end, and the subscription changes its anchor day.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from pynamodb.exceptions import QueryError

from tests import ledgers, queue
from tests.api import Context
from tests.builders import SERVICE, make_event, make_quota, make_subscription
from tests.deadlines import stopped
from tests.faults import FAULTS, Action, Calls, Killed, When, conflict, hooked
from tests.machines import run_machine
from tests.quotas import save_quota
from usage_billing.billing import model as billing_model
from usage_billing.billing import run_invocation, run_report_store, run_reports, runner
from usage_billing.invoices import store as invoice_store
from usage_billing.kernel.errors import (
    BillingError,
    DatabaseUnavailable,
    EventIdConflict,
    PlanCurrencyMismatch,
    QueueUnavailable,
)
from usage_billing.plans import store as quota_store
from usage_billing.plans.model import Quota
from usage_billing.platform import clock, failures, recent_reads, retries
from usage_billing.subscriptions import store as subscription_store
from usage_billing.subscriptions.cycles import MonthlyCycle
from usage_billing.usage import hot_ledgers
from usage_billing.usage.dead_events import model, redriving
from usage_billing.usage.events import UsageEvent
from usage_billing.usage.intake import ingest
from usage_billing.usage.outcomes import IntakeOutcome, Queued, Recorded

TURN = datetime(2026, 12, 1, tzinfo=UTC)
TYPES = ("report", "assessment", "analysis")
PRICES = {"report": ("10", "0.0033"), "assessment": ("3", "10.005"), "analysis": ("0", "1")}

QUANTITIES = st.sampled_from([Decimal(text) for text in ("1", "2.5", "0.000000001", "40")])
CLOCKS = st.sampled_from([timedelta(0), timedelta(minutes=-7), timedelta(minutes=9)])
INSTANTS = st.none() | st.sampled_from([TURN - timedelta(microseconds=1), TURN, TURN - timedelta(days=20)])
KINDS = st.sampled_from([*FAULTS, "conflict", "another recorder", "another run"])
FAULT = st.none() | st.tuples(st.integers(1, 9), st.sampled_from(["before", "after"]), KINDS)
Fault = tuple[int, When, str] | None

_numbers = count()


class BillingUnderFaults(RuleBasedStateMachine):
    """One subscription. One of its usage types has no quota at first."""

    @initialize(anchor=st.sampled_from([1, 15, 31]))
    def subscribe(self, anchor: int) -> None:
        hot_ledgers.lost_at.clear()
        self.name = f"sub-{next(_numbers)}"
        self.accepted: dict[str, UsageEvent] = {}
        self.late = f"{self.name}-late"
        self.doomed: dict[str, UsageEvent] = {}
        self.waiting: queue.Received = []
        self.segments: queue.Received = []
        self.now = TURN - timedelta(minutes=10)
        self.names = count()
        self.calls = Calls()
        for usage_type in TYPES[1:]:
            self.add_quota(usage_type)
        self.set_anchor(anchor)

    @rule(anchor=st.sampled_from([1, 2, 15, 30, 31]))
    def set_anchor(self, anchor: int) -> None:
        new = make_subscription(self.name, plan_id=self.name)
        cycle = MonthlyCycle(anchor)
        subscription_store.change_subscription(self.name, lambda seen: (seen or new).with_cycle(cycle, self.now))

    @rule(usage_type=st.sampled_from(TYPES), fault=FAULT)
    def add_quota(self, usage_type: str, fault: Fault = None) -> None:
        self.with_fault(fault, lambda: save_quota(self.quota(usage_type, "USD")))

    @rule(usage_type=st.sampled_from(TYPES), fault=FAULT)
    def add_quota_in_another_currency(self, usage_type: str, fault: Fault) -> None:
        """The plan has been in USD since its first quota."""
        other = self.quota(usage_type, "EUR")
        with suppress(PlanCurrencyMismatch):
            self.with_fault(fault, lambda: save_quota(other))
        with pytest.raises(PlanCurrencyMismatch):
            save_quota(other)
        assert {quota.version.currency for quota in quota_store.quotas(self.name, self.now)} == {"USD"}

    def quota(self, usage_type: str, currency: str) -> Quota:
        limit, price = PRICES[usage_type]
        return make_quota(usage_type, plan_id=self.name, monthly_limit=limit, unit_price=price, currency=currency)

    @rule(fault=FAULT)
    def read_invoices(self, fault: Fault) -> None:
        """The lines of an invoice add up to its total, whatever happens in the meantime."""

        def read() -> None:
            for each in invoice_store.invoices(self.name, None, 100):
                invoice, lines = invoice_store.with_lines(each)
                assert sum(line.amount for line in lines) == invoice.total
                assert sum(line.item_count for line in lines) == invoice.item_count

        self.with_fault(fault, read)

    @rule(minutes=st.sampled_from([1, 30, 61, 2000]))
    def wait(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)
        hot_ledgers.lost_at.clear()

    @rule(
        contents=st.lists(st.tuples(st.sampled_from(TYPES), QUANTITIES, INSTANTS), min_size=1, max_size=4),
        clock=CLOCKS,
        says_when_it_occurred=st.booleans(),
        respond_async=st.booleans(),
        fault=FAULT,
    )
    def report(
        self,
        contents: list[tuple[str, Decimal, datetime | None]],
        clock: timedelta,
        says_when_it_occurred: bool,
        respond_async: bool,
        fault: Fault,
    ) -> None:
        """Report new events with a fault, then again without, from a caller whose clock differs."""
        theirs = self.now + clock if clock else None
        events = [
            self.event(usage_type, quantity, occurred_at or theirs)
            if says_when_it_occurred
            else self.event(usage_type, quantity, reported_at=occurred_at or theirs)
            for usage_type, quantity, occurred_at in contents
        ]

        def send() -> list[IntakeOutcome]:
            return ingest(events, SERVICE, self.now, respond_async=respond_async)

        for outcome in self.with_fault(fault, send) or []:
            assert isinstance(outcome, Recorded | Queued | DatabaseUnavailable | QueueUnavailable), outcome
        for event, outcome in zip(events, send(), strict=True):
            assert not isinstance(outcome, BillingError), outcome
            self.accepted[event.event_id] = event
            if isinstance(outcome, Queued):
                continue
            assert outcome.entry.quantity == event.quantity

    @rule(data=st.data(), fault=FAULT)
    def report_again(self, data: st.DataObject, fault: Fault) -> None:
        """Report an accepted event again, then another event with the same id."""
        if not self.accepted:
            return
        event = self.accepted[data.draw(st.sampled_from(sorted(self.accepted)))]
        if event.reported_at:  # a job that is run again sends another time
            event = replace(event, reported_at=self.now)
        self.with_fault(fault, lambda: ingest([event], SERVICE, self.now))
        [outcome] = ingest([event], SERVICE, self.now)
        assert not isinstance(outcome, BillingError)
        if not isinstance(outcome, Queued):
            other = make_event(
                event.event_id, event.quantity + 1, subscription_id=self.name, usage_type=event.usage_type
            )
            [outcome] = ingest([other], SERVICE, self.now)
            assert isinstance(outcome, EventIdConflict | Queued)
            if isinstance(outcome, Queued):
                self.discard(other)

    @rule(quantity=QUANTITIES, fault=FAULT)
    def doom(self, quantity: Decimal, fault: Fault) -> None:
        """Queue an event of a subscription that does not exist yet."""
        event = make_event(f"event-{next(self.names)}", quantity, subscription_id=self.late)

        def send() -> list[IntakeOutcome]:
            return ingest([event], SERVICE, self.now, respond_async=True)

        self.with_fault(fault, send)
        [outcome] = send()
        assert isinstance(outcome, Queued)
        self.doomed[event.event_id] = event

    @rule(fault=FAULT)
    def redrive(self, fault: Fault) -> None:
        """Redrive the dead events. They die again when they are consumed."""
        self.with_fault(fault, self.redrive_all)

    def redrive_all(self) -> None:
        try:
            found, _ = redriving.select(model.Selection(subscription_id=self.late), None, None, self.now)
        except QueryError as error:
            raise DatabaseUnavailable("no answer") from error
        redriving.redrive(found)

    @rule(seed=st.integers(0, 9), fault=FAULT)
    def consume(self, seed: int, fault: Fault) -> None:
        """Deliver some of the messages in random order. Consumed messages may be delivered again."""
        self.waiting += queue.receive()
        some = Random(seed).sample(self.waiting, k=min(len(self.waiting), 1 + seed))
        failed = self.with_fault(fault, lambda: queue.deliver(some, self.now))
        if failed is not None and seed % 3:
            done = [message for message in some if message["MessageId"] not in failed]
            queue.delete(done)
            self.waiting = [message for message in self.waiting if message not in done]

    @rule(whole=st.booleans(), cut=st.booleans(), fault=FAULT)
    def bill(self, whole: bool, cut: bool, fault: Fault) -> None:
        """Run billing as on AWS: with a report, and with run segments in the queue if there is no time."""
        context = Context(seconds=0 if cut else 900)
        self.with_fault(fault, lambda: run_invocation.start(None if whole else self.name, context))

    @rule(seed=st.integers(0, 3), cut=st.booleans(), fault=FAULT)
    def resume(self, seed: int, cut: bool, fault: Fault) -> None:
        """Deliver a run segment from the queue. It may be delivered again even if it succeeded."""
        self.segments += queue.receive("BILLING_QUEUE_URL")
        if not self.segments:
            return
        message = self.segments[seed % len(self.segments)]
        segment = billing_model.RunSegment.model_validate_json(message["Body"])
        context = Context(seconds=0 if cut else 900)
        done = self.with_fault(fault, lambda: run_invocation.resume(segment, context))
        if done is not None and seed:
            queue.delete([message], "BILLING_QUEUE_URL")
            self.segments.remove(message)

    def run(self, *, whole: bool = True, cut: bool = False) -> billing_model.RunTotals:
        return runner.run(
            runner.whole_run(None if whole else self.name),
            now=lambda: self.now,
            deadline=stopped(0 if cut else 900),
            hand_over=lambda _: None,
        )

    def event(
        self,
        usage_type: str,
        quantity: Decimal,
        occurred_at: datetime | None = None,
        reported_at: datetime | None = None,
    ) -> UsageEvent:
        return make_event(
            f"event-{next(self.names)}",
            quantity,
            subscription_id=self.name,
            usage_type=usage_type,
            occurred_at=occurred_at,
            reported_at=reported_at,
        )

    def with_fault(self, fault: Fault, work: Callable[[], Any]) -> Any:
        """Do some work with a fault at one of its calls. Return None if the work failed."""
        if not fault:
            return work()
        number, when, what = fault
        with hooked(self.calls._before, self.calls._after):
            self.calls.at(number, "before" if what == "conflict" else when, self.action(what))
            try:
                return work()
            except (Killed, DatabaseUnavailable, QueueUnavailable):
                return None
            except Exception as error:
                if isinstance(failures.as_billing_error(error), DatabaseUnavailable):  # as HTTP would report it
                    return None
                raise
            finally:
                self.calls.calm()

    def action(self, what: str) -> Action:
        def strike(_: object) -> None:
            raise FAULTS[what]()  # noqa: RSE102 - a function that makes the exception

        def record_another(_: object) -> None:
            event = self.event("assessment", Decimal(2))
            [outcome] = ingest([event], SERVICE, self.now)
            assert not isinstance(outcome, BillingError)
            self.accepted[event.event_id] = event

        meanwhile = {"conflict": conflict, "another recorder": record_another, "another run": lambda _: self.run()}
        return meanwhile.get(what, strike)

    def discard(self, event: UsageEvent) -> None:
        """Take a conflicting event out of the queue, because it would be dead-lettered."""
        self.waiting += queue.receive()
        found = [message for message in self.waiting if f'"{event.event_id}"' in message["Body"]]
        conflicting = found[-1:]
        queue.delete(conflicting)
        self.waiting = [message for message in self.waiting if message not in conflicting]

    def resume_all(self) -> None:
        """Deliver all run segments in the queue, and those that they hand over."""
        self.segments += queue.receive("BILLING_QUEUE_URL")
        while self.segments:
            message = self.segments.pop()
            run_invocation.resume(billing_model.RunSegment.model_validate_json(message["Body"]), Context())
            queue.delete([message], "BILLING_QUEUE_URL")
            self.segments += queue.receive("BILLING_QUEUE_URL")

    @invariant()
    def no_report_exceeds_the_invoices(self) -> None:
        if hasattr(self, "name"):
            self.check_reports()

    def check_reports(self) -> list[run_reports.RunReport]:
        items: dict[str, list[Decimal]] = {}
        for row in ledgers.rows("USAGE_INVOICE_ITEM_TABLE"):
            items.setdefault(row["run_id"], []).append(row["amount"])
        found = [row for row in ledgers.rows("BILLING_RUN_TABLE") if row["run_id"] != run_report_store._LIST]
        names = {row["run_id"] for row in found}
        # The response to a settlement may have been lost, or the process may have been killed before it saved one.
        unsure = {row["run_id"] for row in found if row["failures"] or row["status"] != "completed"}
        reports = [run_report_store.report(name, clock.now()) for name in names]
        for report in reports:
            made = items.get(report.run_id, [])
            assert report.items <= len(made)
            assert report.amounts.get("USD", Decimal(0)) <= sum(made, Decimal(0))
            if report.run_id not in unsure:
                assert (report.items, report.amounts.get("USD", Decimal(0))) == (len(made), sum(made, Decimal(0)))
        return reports

    @invariant()
    def the_ledgers_are_consistent(self) -> None:
        if hasattr(self, "name"):
            ledgers.check(self.name)

    @invariant()
    def no_accepted_event_is_lost(self) -> None:
        """An event that cannot be recorded is always dead or in the queue."""
        if hasattr(self, "name"):
            self.waiting += queue.receive()
            bodies = "".join(message["Body"] for message in self.waiting)
            dead = {row["event_id"] for row in queue.dead(self.late)}
            assert [name for name in self.doomed if name not in dead and f'"{name}"' not in bodies] == []

    def teardown(self) -> None:
        """Empty the queue, add the missing quotas and run billing without faults: everything is settled."""
        if not hasattr(self, "name"):
            return
        self.waiting += queue.receive()
        assert queue.deliver(self.waiting, self.now) == []
        queue.delete(self.waiting)
        assert {row["event_id"] for row in queue.dead(self.late)} == set(self.doomed)
        subscription_store.save_subscription(make_subscription(self.late, plan_id=self.name))
        self.redrive_all()
        revived = queue.receive()
        assert queue.deliver(revived, self.now) == []
        queue.delete(revived)
        for usage_type in TYPES:
            self.add_quota(usage_type)
        self.resume_all()
        last = run_invocation.start(None, Context())
        assert (last.failures, last.unrated) == (0, 0)
        [report] = [each for each in self.check_reports() if each.run_id == last.run_id]
        assert report.is_clean
        found = ledgers.check(self.name)
        assert list(ledgers.unsettled(found)) == []
        entries = {entry["event_id"]: entry["quantity"] for ledger in found for entry in ledger.entries}
        assert entries == {name: event.quantity for name, event in (self.accepted | self.doomed).items()}
        assert queue.dead(self.name) == []
        ledgers.clear()


def test_nothing_is_lost_whatever_fails(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0)
    monkeypatch.setattr(run_invocation, "SAVE_INTERVAL_SECONDS", 0)
    # Stop the clock of the caches, so that only the state machine clears them.
    monkeypatch.setattr(hot_ledgers, "monotonic", lambda: 0.0)
    monkeypatch.setattr(recent_reads, "time", SimpleNamespace(monotonic=lambda: 0.0))
    run_machine(BillingUnderFaults, examples=40)
