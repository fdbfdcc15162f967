"""Many at once on the local cloud, whose transactions are exact under threads: nothing is lost, nothing doubles."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from random import Random

import pytest

from tests import ledgers
from tests.deadlines import stopped
from tests.recording import record
from usage_billing.billing import model, runner
from usage_billing.invoices import store as invoice_store
from usage_billing.kernel.errors import LedgerBusy, PlanCurrencyMismatch
from usage_billing.plans import store as quota_store
from usage_billing.plans.model import Quota
from usage_billing.pricing.unit import UnitPriced
from usage_billing.subscriptions import store as subscription_store
from usage_billing.subscriptions.model import Subscription
from usage_billing.usage.events import UsageEvent
from usage_billing.usage.recording import Recorded

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
THREADS = 16

pytestmark = pytest.mark.usefixtures("account")


def subscribe(name: str) -> Subscription:
    subscription = Subscription(subscription_id=name, user_id="user-1", plan_id="business")
    subscription_store.save_subscription(subscription)
    terms = {"monthly_limit": Decimal(20), "price": UnitPriced(Decimal("0.333")), "unit_name": "assessment"}
    quota_store.save_quota(Quota(plan_id="business", usage_type="assessment", **terms))
    return subscription


def report(subscription: Subscription, name: str, quantity: Decimal = Decimal(1)) -> Recorded:
    """Report an event as a patient caller does: a busy ledger is tried again."""
    event = UsageEvent(name, "user-1", subscription.subscription_id, "assessment", quantity)
    while True:
        try:
            return record(event, subscription, NOW)
        except LedgerBusy:
            continue


def bill() -> model.RunTotals:
    return runner.run(model.whole_run(), now=lambda: NOW, deadline=stopped(900), hand_over=pytest.fail)


def test_sixteen_threads_on_one_ledger_lose_and_double_nothing() -> None:
    subscription = subscribe("sub-1")
    # Every event is reported twice, by different threads and in another order.
    names = [f"event-{number % 160}" for number in range(320)]
    Random(1).shuffle(names)
    with ThreadPoolExecutor(THREADS) as pool:
        answers = list(pool.map(lambda name: report(subscription, name), names))
    [ledger] = ledgers.check()
    assert {entry["event_id"] for entry in ledger.entries} == set(names)
    assert ledger.head["used"] == 160
    assert sum(not answer.replayed for answer in answers) == 160


def test_one_event_reported_by_sixteen_threads_at_once_counts_once() -> None:
    subscription = subscribe("sub-1")
    with ThreadPoolExecutor(THREADS) as pool:
        answers = list(pool.map(lambda _: report(subscription, "event"), range(THREADS)))
    assert sum(not answer.replayed for answer in answers) == 1
    assert {answer.entry.sequence for answer in answers} == {1}
    ledgers.check()


def test_six_runs_at_once_make_one_set_of_items() -> None:
    for number in range(25):
        report(subscribe(f"sub-{number}"), "event", Decimal(21))
    with ThreadPoolExecutor(6) as pool:
        runs = list(pool.map(lambda _: bill(), range(6)))
    assert sum(run.items for run in runs) == 25
    assert sum(run.failures for run in runs) == 0
    found = ledgers.check()
    assert [len(ledger.items) for ledger in found] == [1] * 25
    assert list(ledgers.unsettled(found)) == []
    assert bill().settled == 0


def test_runs_while_events_pour_in_settle_all_of_it_in_the_end() -> None:
    subscriptions = [subscribe(f"sub-{number}") for number in range(3)]
    with ThreadPoolExecutor(THREADS) as pool:
        recording = [pool.submit(report, subscriptions[n % 3], f"event-{n}", Decimal("0.7")) for n in range(240)]
        runs = [pool.submit(bill) for _ in range(4)]
        assert sum(run.result().failures for run in runs) == 0
        assert all(not each.result().replayed for each in recording)
    ledgers.check()
    bill()
    found = ledgers.check()
    assert list(ledgers.unsettled(found)) == []
    assert sum(len(ledger.entries) for ledger in found) == 240


def test_an_invoice_that_is_read_while_runs_add_to_it_always_adds_up() -> None:
    subscription = subscribe("sub-1")
    report(subscription, "first", Decimal(30))
    bill()
    [named] = invoice_store.invoices("sub-1", None, 1)

    def bill_on(worker: int) -> int:
        made = 0
        for number in range(20):
            report(subscription, f"event-{worker}-{number}", Decimal("0.7"))
            made += bill().items
        return made

    read: list[int] = []
    with ThreadPoolExecutor(3) as pool:
        billing_on = [pool.submit(bill_on, worker) for worker in range(3)]
        while not all(each.done() for each in billing_on):
            invoice, lines = invoice_store.with_lines(named)
            assert sum(line.amount for line in lines) == invoice.total
            assert sum(line.item_count for line in lines) == invoice.item_count
            read.append(invoice.item_count)
    assert len(set(read)) >= 3, "it grew while it was read"
    assert read == sorted(read)
    invoice, [line] = invoice_store.with_lines(named)
    assert line.item_count == 1 + sum(each.result() for each in billing_on)
    assert invoice_store.invoices("sub-1", None, 1) == [invoice], "what is added up is what is stored"
    ledgers.check()


@pytest.mark.parametrize("plan_is_new", [True, False])
def test_two_currencies_at_once_never_get_into_a_plan(plan_is_new: bool) -> None:
    terms = {"plan_id": "plan", "monthly_limit": Decimal(1), "price": UnitPriced(Decimal(1)), "unit_name": "unit"}
    if not plan_is_new:
        quota_store.save_quota(Quota(usage_type="first", currency="USD", **terms))

    def save(number: int) -> str | None:
        currency = ("USD", "EUR")[number % 2]
        try:
            quota_store.save_quota(Quota(usage_type=f"type-{number}", currency=currency, **terms))
        except PlanCurrencyMismatch:
            return None
        return currency

    with ThreadPoolExecutor(THREADS) as pool:
        saved = list(pool.map(save, range(THREADS)))
    [currency] = {each for each in saved if each}
    assert saved == [currency if ("USD", "EUR")[number % 2] == currency else None for number in range(THREADS)]
    assert {quota.currency for quota in quota_store.quotas("plan")} == {currency}
    assert plan_is_new or currency == "USD"
