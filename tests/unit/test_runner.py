"""A billing run: which ledgers it settles, failures that stop no other ledger, and its progress."""

import threading
from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest

from tests.builders import NOW
from tests.deadlines import stopped
from tests.faults import timed_out
from tests.unit.fake_ledgers import FailingListing, FakeLedgers, key, settlement, shard
from usage_billing.billing import store as settlement_store
from usage_billing.billing.model import MAX_REPORTED, Failure, RunSegment, RunTotals, Unrated, UnratedLedger
from usage_billing.billing.runner import IN_FLIGHT, MAX_LISTINGS, run, whole_run
from usage_billing.billing.settlement import Settlement
from usage_billing.kernel.errors import InvoiceNotDraft
from usage_billing.usage import store as ledger_store
from usage_billing.usage.ledger import LedgerKey


def test_a_run_of_one_subscription_lists_and_settles_nothing_else(ledgers: FakeLedgers) -> None:
    ledgers.pending = {"sub-0001": [key(1)], "0": [key(2)]}
    outcome = ledgers.run(whole_run("sub-0001"))
    assert ledgers.listed == [("sub-0001", None)]
    assert ledgers.settled == [key(1)]
    assert outcome.totals.settled == 1


def test_every_pending_ledger_is_settled_once_and_amounts_are_summed_by_currency(ledgers: FakeLedgers) -> None:
    ledgers.pending = {"0": [key(n) for n in range(200)], "1": [key(n) for n in range(200, 250)]}
    ledgers.outcome = lambda ledger: settlement(ledger, "EUR" if ledger == key(7) else "USD")
    outcome = ledgers.run([shard("0"), shard("1"), shard("2")])
    assert sorted(ledgers.settled, key=lambda each: each.subscription_id) == [key(n) for n in range(250)]
    assert outcome.totals == RunTotals(
        run_id="run-1", settled=250, items=250, amounts={"USD": Decimal("2490.00"), "EUR": Decimal("10.00")}
    )
    assert outcome.handed_over == []


def test_no_item_is_created_without_a_charge_or_when_another_run_settled_the_ledger(ledgers: FakeLedgers) -> None:
    ledgers.pending = {"0": [key(1), key(2)]}
    ledgers.outcome = lambda ledger: Settlement(settlement(ledger).after, None) if ledger == key(1) else None
    assert ledgers.run([shard("0")]).totals == RunTotals(run_id="run-1", settled=1)


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(RuntimeError("anything"), id="any error"),
        pytest.param(InvoiceNotDraft("The invoice is finalized."), id="a finalized invoice"),
        pytest.param(AssertionError("a bug"), id="a bug"),
    ],
)
def test_a_ledger_that_fails_does_not_stop_the_others(ledgers: FakeLedgers, failure: Exception) -> None:
    def fail_one(ledger: LedgerKey) -> Settlement:
        if ledger == key(3):
            raise failure
        return settlement(ledger)

    ledgers.pending = {"0": [key(n) for n in range(10)]}
    ledgers.outcome = fail_one
    totals = ledgers.run([shard("0")]).totals
    assert (totals.settled, totals.failures, totals.unrated) == (9, 1, 0)


def test_an_unrated_ledger_stays_pending_and_is_not_a_failure(ledgers: FakeLedgers) -> None:
    def unrated(ledger: LedgerKey) -> Settlement:
        raise Unrated("basic", ledger.usage_type)

    ledgers.pending = {"0": [key(1), key(2)]}
    ledgers.outcome = unrated
    totals = ledgers.run([shard("0")]).totals
    assert (totals.settled, totals.failures, totals.unrated) == (0, 0, 2)
    assert totals.quotas_missing == {("basic", "assessment"): 2}
    assert totals.unrated_ledgers == [UnratedLedger(key(1), "basic"), UnratedLedger(key(2), "basic")]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        pytest.param(lambda: RuntimeError("a bug"), "internal_error", id="a bug"),
        pytest.param(lambda: InvoiceNotDraft("final"), "invoice_not_draft", id="a refusal"),
        pytest.param(timed_out, "database_unavailable", id="a timeout"),
    ],
)
def test_all_failures_are_counted_and_the_first_ones_are_named_with_their_code(
    ledgers: FakeLedgers, error: Callable[[], Exception], code: str
) -> None:
    def fail(ledger: LedgerKey) -> Settlement:
        raise error()

    ledgers.pending = {"0": [key(n) for n in range(MAX_REPORTED + 3)]}
    ledgers.outcome = fail
    totals = ledgers.run([shard("0")]).totals
    assert totals.failures == MAX_REPORTED + 3
    assert totals.failed == [Failure(code, key(n)) for n in range(MAX_REPORTED)]


def test_a_shard_that_can_never_be_listed_is_one_failure_and_does_not_stop_the_others(
    ledgers: FakeLedgers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settlement_store, "pending", FailingListing(ledgers, failures=MAX_LISTINGS, progress=False))
    ledgers.pending = {"0": [key(1), key(2)], "1": [key(3), key(4)]}
    outcome = ledgers.run([shard("0"), shard("1")])
    assert sorted(ledgers.settled, key=lambda each: each.subscription_id) == [key(3), key(4)]
    assert outcome.totals.failed == [Failure("internal_error", shard="0")]
    assert (outcome.totals.settled, outcome.totals.failures) == (2, 1)
    assert outcome.handed_over == []


@pytest.mark.parametrize("progress", [False, True], ids=["without progress", "after some progress"])
def test_a_failed_listing_is_resumed_within_the_run(
    ledgers: FakeLedgers, monkeypatch: pytest.MonkeyPatch, progress: bool
) -> None:
    failures = 5 if progress else MAX_LISTINGS - 1
    monkeypatch.setattr(settlement_store, "pending", FailingListing(ledgers, failures, progress))
    ledgers.pending = {"0": [key(n) for n in range(8)], "1": [key(9000)]}
    totals = ledgers.run([shard("0"), shard("1")]).totals
    assert (totals.settled, totals.failures, totals.failed) == (9, 0, [])
    assert len(ledgers.settled) == len(set(ledgers.settled)), "a ledger was settled twice"


def test_the_number_of_ledgers_in_flight_is_limited(ledgers: FakeLedgers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ledgers are listed lazily, so a run over ten million of them keeps only some of them in memory."""
    drawn, max_in_flight = 0, 0
    release = threading.Event()

    def many(name: str, after: LedgerKey | None = None) -> Iterator[LedgerKey]:
        nonlocal drawn, max_in_flight
        for number in range(4 * IN_FLIGHT):
            drawn += 1
            max_in_flight = max(max_in_flight, drawn - len(finished))
            if drawn > IN_FLIGHT:
                release.set()
            yield key(number)

    finished: list[LedgerKey] = []

    def hold(ledger: LedgerKey) -> Settlement:
        assert release.wait(10)
        finished.append(ledger)
        return settlement(ledger)

    ledgers.outcome = hold
    monkeypatch.setattr(settlement_store, "pending", many)
    totals = ledgers.run([shard("0")]).totals
    assert totals.settled == 4 * IN_FLIGHT
    assert max_in_flight <= IN_FLIGHT + 3 * ledger_store.READ_TOGETHER


def test_a_segment_without_a_shard_or_a_subscription_is_one_failure(ledgers: FakeLedgers) -> None:
    failed = [Failure("internal_error")]
    assert ledgers.run([RunSegment(run_id="run-1")]).totals == RunTotals(run_id="run-1", failures=1, failed=failed)


def test_the_pool_saves_progress_after_each_ledger(ledgers: FakeLedgers) -> None:
    saved: list[int] = []

    def progress(totals: RunTotals) -> Callable[[], None]:
        settled = totals.settled
        return lambda: saved.append(settled)

    def fail(_: RunSegment) -> None:
        pytest.fail("the run ran out of time")

    ledgers.pending = {"0": [key(n) for n in range(200)]}
    run([shard("0")], now=lambda: NOW, deadline=stopped(900), hand_over=fail, progress=progress)
    assert sorted(saved) == list(range(1, 201))
