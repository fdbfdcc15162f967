"""Concurrent recorders and billing runs on the local cloud, whose transactions are exact under threads."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from threading import Event

import pytest

from tests import ledgers
from tests.builders import NEW_YEAR, NOW, make_event, make_quota
from tests.e2e import in_process
from tests.e2e.in_process import bill
from tests.quotas import save_quota
from tests.recording import record
from usage_billing.invoices import store as invoice_store
from usage_billing.kernel.errors import (
    DatabaseUnavailable,
    LedgerBusy,
    PlanCurrencyMismatch,
    QuotaVersionNotFound,
    SubscriptionInactive,
)
from usage_billing.plans import store as quota_store
from usage_billing.subscriptions import store as subscription_store
from usage_billing.subscriptions.model import Subscription, SubscriptionStatus
from usage_billing.usage.outcomes import Recorded

THREADS = 16

pytestmark = pytest.mark.usefixtures("account")


def subscribe(subscription_id: str) -> Subscription:
    return in_process.subscribe(subscription_id, monthly_limit=20, unit_price="0.333")


def report(subscription: Subscription, name: str, quantity: Decimal = Decimal(1)) -> Recorded:
    """Record an event like a patient caller, who tries again while the ledger is busy."""
    event = make_event(name, quantity, subscription_id=subscription.subscription_id)
    while True:
        try:
            return record(event, NOW)
        except LedgerBusy:
            continue


def test_sixteen_threads_record_each_event_of_one_ledger_exactly_once() -> None:
    subscription = subscribe("sub-1")
    # Every event is reported twice, in random order and by any of the threads.
    names = [f"event-{number % 160}" for number in range(320)]
    Random(1).shuffle(names)
    with ThreadPoolExecutor(THREADS) as pool:
        answers = list(pool.map(lambda name: report(subscription, name), names))
    [ledger] = ledgers.check()
    assert {entry["event_id"] for entry in ledger.entries} == set(names)
    assert ledger.head["used"] == 160
    assert sum(not answer.replayed for answer in answers) == 160


def test_no_event_is_recorded_that_is_reported_after_a_pause() -> None:
    """All threads remember the subscription as active."""
    subscription = subscribe("sub-1")
    report(subscription, "first")
    paused = Event()

    def report_until_refused(thread: int) -> list[tuple[bool, bool]]:
        """For each event, whether it was reported after the pause, and whether it was recorded."""
        found: list[tuple[bool, bool]] = []
        while not found or found[-1][1]:
            late = paused.is_set()
            try:
                report(subscription, f"event-{thread}-{len(found)}")
            except SubscriptionInactive:
                found.append((late, False))
            else:
                found.append((late, True))
        return found

    with ThreadPoolExecutor(THREADS) as pool:
        reports = [pool.submit(report_until_refused, thread) for thread in range(THREADS)]
        time.sleep(0.5)
        assert subscription_store.save_subscription(
            replace(subscription, status=SubscriptionStatus.PAUSED), subscription
        )
        paused.set()
        found = [each for report in reports for each in report.result()]
    assert (True, True) not in found
    [ledger] = ledgers.check()
    assert ledger.head["used"] == 1 + found.count((False, True))


def test_an_event_reported_by_sixteen_threads_at_once_counts_once() -> None:
    subscription = subscribe("sub-1")
    with ThreadPoolExecutor(THREADS) as pool:
        answers = list(pool.map(lambda _: report(subscription, "event"), range(THREADS)))
    assert sum(not answer.replayed for answer in answers) == 1
    assert {answer.entry.sequence for answer in answers} == {1}
    ledgers.check()


def test_six_concurrent_runs_create_each_item_once() -> None:
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


def test_runs_concurrent_with_recorders_leave_nothing_that_a_later_run_cannot_settle() -> None:
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


def test_an_invoice_read_while_runs_add_to_it_always_equals_the_sum_of_its_lines() -> None:
    subscription = subscribe("sub-1")
    report(subscription, "first", Decimal(30))
    bill()
    [named] = invoice_store.invoices("sub-1", None, 1)

    def bill_repeatedly(worker: int) -> int:
        made = 0
        for number in range(20):
            report(subscription, f"event-{worker}-{number}", Decimal("0.7"))
            made += bill().items
        return made

    read: list[int] = []
    with ThreadPoolExecutor(3) as pool:
        billing = [pool.submit(bill_repeatedly, worker) for worker in range(3)]
        while not all(each.done() for each in billing):
            invoice, lines = invoice_store.with_lines(named)
            assert sum(line.amount for line in lines) == invoice.total
            assert sum(line.item_count for line in lines) == invoice.item_count
            read.append(invoice.item_count)
    assert len(set(read)) >= 3, "the invoice did not grow while it was read"
    assert read == sorted(read)
    invoice, [line] = invoice_store.with_lines(named)
    assert line.item_count == 1 + sum(each.result() for each in billing)
    assert invoice_store.invoices("sub-1", None, 1) == [invoice], "the stored invoice differs from the sum of its lines"
    ledgers.check()


@pytest.mark.parametrize("plan_is_new", [True, False], ids=["new plan", "existing plan"])
def test_concurrent_quotas_in_two_currencies_never_both_enter_a_plan(plan_is_new: bool) -> None:
    if not plan_is_new:
        save_quota(make_quota("first", plan_id="plan", currency="USD"))

    def save(number: int) -> str | None:
        currency = ("USD", "EUR")[number % 2]
        try:
            save_quota(make_quota(f"type-{number}", plan_id="plan", currency=currency))
        except PlanCurrencyMismatch:
            return None
        return currency

    with ThreadPoolExecutor(THREADS) as pool:
        saved = list(pool.map(save, range(THREADS)))
    [currency] = {each for each in saved if each}
    assert saved == [currency if ("USD", "EUR")[number % 2] == currency else None for number in range(THREADS)]
    assert {quota.version.currency for quota in quota_store.quotas("plan", NOW)} == {currency}
    assert plan_is_new or currency == "USD"


def test_concurrent_changes_of_a_plan_neither_lose_nor_invent_a_version() -> None:
    """Each thread plans a version of its own and one that all share, and deletes the versions of its predecessor."""
    first = datetime(2100, 1, 1, tzinfo=UTC)
    save_quota(make_quota())

    def change(number: int) -> tuple[datetime, int, list[datetime]]:
        own = first + timedelta(days=number)
        plan(own, number)
        plan(first, number)
        deleted = [own - timedelta(days=1)] if number % 4 == 3 else []
        for moment in deleted:
            while not delete(moment):
                pass
        return own, number, deleted

    with ThreadPoolExecutor(THREADS) as pool:
        done = list(pool.map(change, range(1, THREADS + 1)))
    gone = {moment for *_, deleted in done for moment in deleted}
    assert gone
    stored = {version.effective_from: version for version in quota_store.versions("business", "assessment", None, 100)}
    assert set(stored) == {NEW_YEAR, first, *(own for own, *_ in done)} - gone
    assert {own: stored[own].monthly_limit for own, *_ in done if own not in gone} == {
        own: number for own, number, _ in done if own not in gone
    }
    assert stored[first].monthly_limit in range(1, THREADS + 1)
    [revision] = [row["revision"] for row in ledgers.rows("USAGE_QUOTA_TABLE") if "revision" in row]
    assert revision == 1 + 2 * THREADS + len(gone), "each change was made once"


def plan(effective_from: datetime, limit: int) -> None:
    """Plan a version, like a caller who sends a request again when it was answered with 503."""
    while True:
        with suppress(DatabaseUnavailable):
            save_quota(make_quota(monthly_limit=limit, effective_from=effective_from))
            return


def delete(effective_from: datetime) -> bool:
    """Delete a planned version. Return False if that has to be tried again: it does not exist yet."""
    with suppress(DatabaseUnavailable, QuotaVersionNotFound):
        quota_store.delete_version("business", "assessment", effective_from, "key:test", lambda: NOW)
        return True
    return False
