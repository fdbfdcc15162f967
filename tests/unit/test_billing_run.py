"""A billing run by itself: the order, the deadline, failures that stop nothing, and how much is under way at once."""

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from tests.deadlines import scripted, stopped
from tests.faults import timed_out
from usage_billing.billing import runner, settling
from usage_billing.billing import store as settlement_store
from usage_billing.billing.model import MAX_NAMED, Failure, RunSegment, RunTotals, Unrated, UnratedLedger, whole_run
from usage_billing.billing.rating import Rating
from usage_billing.billing.runner import IN_FLIGHT, MAX_LISTINGS, run
from usage_billing.billing.settlement import Settlement, settle
from usage_billing.kernel import shards as kernel_shards
from usage_billing.kernel.errors import InvoiceNotDraft
from usage_billing.platform.deadline import BILL_RESERVE
from usage_billing.pricing.terms import Terms
from usage_billing.pricing.unit import UnitPriced
from usage_billing.subscriptions.cycles import MonthlyCycle
from usage_billing.usage import store as ledger_store
from usage_billing.usage.events import UsageEvent
from usage_billing.usage.ledger import Head, LedgerKey

NOW = datetime(2026, 11, 20, tzinfo=UTC)
PERIOD = MonthlyCycle(1).period_of(NOW)


def key(number: int, subscription: str = "sub") -> LedgerKey:
    return LedgerKey(f"{subscription}-{number:04d}", PERIOD.key, "assessment")


def settlement(ledger: LedgerKey, currency: str = "USD", quantity: int = 1) -> Settlement:
    terms = Terms("p", Decimal(0), UnitPriced(Decimal(10)), "unit", currency)
    _, head = Head(ledger, "user-1", PERIOD, terms).append(
        UsageEvent("e", "user-1", ledger.subscription_id, "assessment", Decimal(quantity)), NOW
    )
    return settle(head, "run-1", NOW)


class Ledgers:
    """Stands in for what is stored: pending ledgers by segment, and what settling one of them does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pending: dict[str, list[LedgerKey]] = {}
        self.outcome: Callable[[LedgerKey], Settlement | None] = settlement
        self.listed: list[tuple[str, LedgerKey | None]] = []
        self.settled: list[LedgerKey] = []
        self._lock = threading.Lock()
        monkeypatch.setattr(settlement_store, "pending", self._pending)
        monkeypatch.setattr(settlement_store, "pending_of", self._pending)
        monkeypatch.setattr(ledger_store, "heads_of", lambda _: {})
        monkeypatch.setattr(settling, "settle_ledger", self._settle)

    def _pending(self, name: str, after: LedgerKey | None = None) -> Iterator[LedgerKey]:
        self.listed.append((name, after))
        names = self.pending.get(name, [])
        yield from names[names.index(after) + 1 if after else 0 :]

    def _settle(
        self, ledger: LedgerKey, run_id: str, now: Callable[[], datetime], seen: Head | None, rating: Rating
    ) -> Settlement | None:
        assert now() == NOW
        with self._lock:
            self.settled.append(ledger)
        return self.outcome(ledger)

    def run(self, segments: list[RunSegment], seconds: Callable[[], float] = lambda: 900) -> "Outcome":
        handed_over: list[RunSegment] = []
        totals = run(segments, now=lambda: NOW, deadline=scripted(seconds), hand_over=handed_over.append)
        return Outcome(totals, handed_over)


class Outcome:
    def __init__(self, totals: RunTotals, handed_over: list[RunSegment]) -> None:
        assert totals.handed_over == [segment.segment_id for segment in handed_over]
        self.totals, self.handed_over = totals, as_first(handed_over)


def as_first(handed_over: list[RunSegment]) -> list[RunSegment]:
    """Segments that were handed over, each of which has an id of its own, as if they were of the first one."""
    assert len({segment.segment_id for segment in handed_over} - {"first"}) == len(handed_over)
    return [segment.model_copy(update={"segment_id": "first"}) for segment in handed_over]


@pytest.fixture
def ledgers(monkeypatch: pytest.MonkeyPatch) -> Ledgers:
    return Ledgers(monkeypatch)


def shard(name: str) -> RunSegment:
    return RunSegment(run_id="run-1", shard=name)


def test_a_whole_run_goes_over_every_shard_under_one_id() -> None:
    segments = whole_run()
    assert [segment.shard for segment in segments] == [str(number) for number in range(16)]
    assert len({segment.run_id for segment in segments}) == 1
    assert whole_run()[0].run_id != segments[0].run_id


def test_every_ledger_belongs_to_a_shard_of_a_whole_run() -> None:
    shards = {kernel_shards.shard_of(key(number).ledger_id) for number in range(1000)}
    assert shards == {segment.shard for segment in whole_run()}


def test_a_run_of_one_subscription_looks_at_nothing_else(ledgers: Ledgers) -> None:
    ledgers.pending = {"sub-0001": [key(1)], "0": [key(2)]}
    outcome = ledgers.run(whole_run("sub-0001"))
    assert ledgers.listed == [("sub-0001", None)]
    assert ledgers.settled == [key(1)]
    assert outcome.totals.settled == 1


def test_every_pending_ledger_is_settled_once_and_counted_by_currency(ledgers: Ledgers) -> None:
    ledgers.pending = {"0": [key(n) for n in range(200)], "1": [key(n) for n in range(200, 250)]}
    ledgers.outcome = lambda ledger: settlement(ledger, "EUR" if ledger == key(7) else "USD")
    outcome = ledgers.run([shard("0"), shard("1"), shard("2")])
    assert sorted(ledgers.settled, key=lambda each: each.subscription_id) == [key(n) for n in range(250)]
    assert outcome.totals == RunTotals(
        run_id="run-1", settled=250, items=250, amounts={"USD": Decimal("2490.00"), "EUR": Decimal("10.00")}
    )
    assert outcome.handed_over == []


def test_a_ledger_that_charges_nothing_or_was_settled_meanwhile_makes_no_item(ledgers: Ledgers) -> None:
    ledgers.pending = {"0": [key(1), key(2)]}
    ledgers.outcome = lambda ledger: Settlement(settlement(ledger).after, None) if ledger == key(1) else None
    assert ledgers.run([shard("0")]).totals == RunTotals(run_id="run-1", settled=1)


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(RuntimeError("anything"), id="anything"),
        pytest.param(InvoiceNotDraft("The invoice is finalized."), id="an invoice that takes no more"),
        pytest.param(AssertionError("a bug"), id="a bug"),
    ],
)
def test_a_ledger_that_fails_stops_no_other(ledgers: Ledgers, failure: Exception) -> None:
    def fail_one(ledger: LedgerKey) -> Settlement:
        if ledger == key(3):
            raise failure
        return settlement(ledger)

    ledgers.pending = {"0": [key(n) for n in range(10)]}
    ledgers.outcome = fail_one
    totals = ledgers.run([shard("0")]).totals
    assert (totals.settled, totals.failures, totals.unrated) == (9, 1, 0)


def test_an_unrated_ledger_waits_and_is_no_failure(ledgers: Ledgers) -> None:
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
        pytest.param(timed_out, "database_unavailable", id="a time-out"),
    ],
)
def test_failures_are_counted_and_the_first_are_named_with_their_code(
    ledgers: Ledgers, error: Callable[[], Exception], code: str
) -> None:
    def fail(ledger: LedgerKey) -> Settlement:
        raise error()

    ledgers.pending = {"0": [key(n) for n in range(MAX_NAMED + 3)]}
    ledgers.outcome = fail
    totals = ledgers.run([shard("0")]).totals
    assert totals.failures == MAX_NAMED + 3
    assert totals.failed == [Failure(code, key(n)) for n in range(MAX_NAMED)]


class Listings:
    """Lets the listing of shard "0" fail a number of times, each time behind one more ledger of it."""

    def __init__(self, ledgers: Ledgers, failures: int, progress: bool) -> None:
        self.failures, self._progress, self._pending = failures, progress, ledgers._pending

    def __call__(self, name: str, after: LedgerKey | None = None) -> Iterator[LedgerKey]:
        names = self._pending(name, after)
        if name == "0" and self.failures:
            self.failures -= 1
            if self._progress:
                yield next(names)
            raise ConnectionError("the next page did not come")
        yield from names


def test_a_shard_that_cannot_be_listed_is_tried_again_then_one_failure_and_the_others_go_on(
    ledgers: Ledgers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settlement_store, "pending", Listings(ledgers, failures=MAX_LISTINGS, progress=False))
    ledgers.pending = {"0": [key(1), key(2)], "1": [key(3), key(4)]}
    outcome = ledgers.run([shard("0"), shard("1")])
    assert sorted(ledgers.settled, key=lambda each: each.subscription_id) == [key(3), key(4)]
    assert outcome.totals.failed == [Failure("internal_error", shard="0")]
    assert (outcome.totals.settled, outcome.totals.failures) == (2, 1)
    assert outcome.handed_over == []


@pytest.mark.parametrize("progress", [False, True])
def test_a_shard_whose_listing_failed_is_listed_again_from_where_it_was_within_the_run(
    ledgers: Ledgers, monkeypatch: pytest.MonkeyPatch, progress: bool
) -> None:
    failures = 5 if progress else MAX_LISTINGS - 1
    monkeypatch.setattr(settlement_store, "pending", Listings(ledgers, failures, progress))
    ledgers.pending = {"0": [key(n) for n in range(8)], "1": [key(9000)]}
    totals = ledgers.run([shard("0"), shard("1")]).totals
    assert (totals.settled, totals.failures, totals.failed) == (9, 0, [])
    assert len(ledgers.settled) == len(set(ledgers.settled)), "nothing twice"


def test_a_shard_that_waits_to_be_listed_again_is_handed_over_when_time_runs_short(
    ledgers: Ledgers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settlement_store, "pending", Listings(ledgers, failures=1, progress=True))
    ledgers.pending = {"0": [key(n) for n in range(4)], "1": [key(9000 + n) for n in range(IN_FLIGHT)]}
    outcome = ledgers.run([shard("0"), shard("1")], seconds=lambda: 0)
    assert shard("0").behind(key(0)) in outcome.handed_over
    assert outcome.totals.failures == 0


def test_a_listing_that_hangs_does_not_keep_a_run_from_handing_over(
    ledgers: Ledgers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third of four shards hangs: what was listed before is settled, the rest is handed over before it answers."""
    whole, hanging, handed_over, in_time = ledgers._pending, threading.Event(), threading.Event(), []

    def hang(name: str, after: LedgerKey | None = None) -> Iterator[LedgerKey]:
        if name == "2":
            yield from (key(n) for n in range(200, 200 + ledger_store.READ_TOGETHER))
            hanging.set()
            in_time.append(handed_over.wait(10))
        yield from whole(name, after)

    def hand_over(segment: RunSegment) -> None:
        rest.append(segment)
        handed_over.set()

    monkeypatch.setattr(settlement_store, "pending", hang)
    monkeypatch.setattr(runner, "GRACE_SECONDS", 0)
    ledgers.pending = {"0": [key(1)], "1": [key(2)], "3": [key(3)]}
    rest: list[RunSegment] = []

    def seconds_left() -> float:
        """Time enough at first; half a second before the reserve once a listing hangs."""
        return BILL_RESERVE + 0.5 if hanging.is_set() else 900

    segments = [shard(name) for name in "0123"]
    totals = run(segments, now=lambda: NOW, deadline=scripted(seconds_left), hand_over=hand_over)
    assert in_time == [True]
    assert as_first(rest) == [shard("2").behind(key(200 + ledger_store.READ_TOGETHER - 1)), shard("3")]
    assert (totals.settled, totals.failures) == (2 + ledger_store.READ_TOGETHER, 0)


def test_the_first_listing_is_waited_for_a_moment_even_if_there_is_no_time(
    ledgers: Ledgers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a run that is handed over again and again might never settle anything."""
    release = threading.Event()

    def slow(name: str, after: LedgerKey | None = None) -> Iterator[LedgerKey]:
        release.wait(0.2)
        yield key(1)

    monkeypatch.setattr(settlement_store, "pending", slow)
    assert ledgers.run([shard("0")], seconds=lambda: 0).totals.settled == 1
    monkeypatch.setattr(runner, "GRACE_SECONDS", 0.05)
    outcome = ledgers.run([shard("0")], seconds=lambda: 0)
    assert (outcome.totals.settled, outcome.handed_over) == (0, [shard("0")])


def test_what_there_is_no_time_for_is_handed_over_from_where_it_was_left(ledgers: Ledgers) -> None:
    ledgers.pending = {"0": [key(n) for n in range(IN_FLIGHT + 10)], "1": [key(9000)]}
    outcome = ledgers.run([shard("0"), shard("1")], seconds=lambda: BILL_RESERVE - 0.001)
    last = key(IN_FLIGHT - 1)
    assert outcome.handed_over == [
        RunSegment(run_id="run-1", shard="0", after=(last.subscription_id, last.sort_key)),
        shard("1"),
    ]
    assert outcome.totals.settled == IN_FLIGHT


def test_a_segment_that_has_just_begun_is_handed_over_whole(ledgers: Ledgers) -> None:
    ledgers.pending = {"0": [key(n) for n in range(IN_FLIGHT)], "1": [key(9000)], "2": [key(9001)]}
    outcome = ledgers.run([shard("0"), shard("1"), shard("2")], seconds=lambda: 0)
    assert outcome.handed_over == [shard("1"), shard("2")]
    assert outcome.totals.settled == IN_FLIGHT


def test_with_exactly_the_reserve_left_a_run_goes_on(ledgers: Ledgers) -> None:
    ledgers.pending = {"0": [key(n) for n in range(IN_FLIGHT + 1)]}
    assert ledgers.run([shard("0")], seconds=lambda: BILL_RESERVE).handed_over == []


def test_handing_over_always_gets_on_and_settles_everything_once(ledgers: Ledgers) -> None:
    every = [key(n) for n in range(5 * IN_FLIGHT + 3)]
    ledgers.pending = {"0": every[::2], "1": every[1::2]}
    queue, invocations = [shard("0"), shard("1")], 0
    while queue:
        outcome = ledgers.run([queue.pop(0)], seconds=lambda: 0)
        assert len(ledgers.settled) > 0
        queue += outcome.handed_over
        invocations += 1
        assert invocations < 20
    assert sorted(ledgers.settled, key=lambda each: each.subscription_id) == every


def test_a_hand_over_that_fails_is_an_error_of_the_run_after_what_was_under_way_is_settled(ledgers: Ledgers) -> None:
    ledgers.pending = {"0": [key(n) for n in range(IN_FLIGHT + 1)]}

    def refuse(_: RunSegment) -> None:
        raise ConnectionError("no queue")

    with pytest.raises(ConnectionError):
        run([shard("0")], now=lambda: NOW, deadline=stopped(0), hand_over=refuse)
    assert len(ledgers.settled) == IN_FLIGHT


def test_no_more_than_the_limit_is_under_way_at_once(ledgers: Ledgers) -> None:
    """Ledgers are listed lazily: a run over ten million of them holds a bounded number in memory."""
    drawn, most = 0, 0
    release = threading.Event()

    def many(name: str, after: LedgerKey | None = None) -> Iterator[LedgerKey]:
        nonlocal drawn, most
        for number in range(4 * IN_FLIGHT):
            drawn += 1
            most = max(most, drawn - len(finished))
            if drawn > IN_FLIGHT:
                release.set()
            yield key(number)

    finished: list[LedgerKey] = []

    def hold(ledger: LedgerKey) -> Settlement:
        assert release.wait(10)
        finished.append(ledger)
        return settlement(ledger)

    ledgers.outcome = hold
    settlement_store.pending = many  # the fixture puts the real one back
    totals = ledgers.run([shard("0")]).totals
    assert totals.settled == 4 * IN_FLIGHT
    assert most <= IN_FLIGHT + 3 * ledger_store.READ_TOGETHER


def test_a_segment_reads_back_from_the_queue() -> None:
    for segment in [*whole_run(), *whole_run("sub-1"), shard("3").behind(key(5)).as_new()]:
        for text in (segment.model_dump_json(), segment.model_dump_json(by_alias=True, exclude_none=True)):
            assert RunSegment.model_validate_json(text) == segment


def test_a_segment_of_nothing_is_one_failure(ledgers: Ledgers) -> None:
    failed = [Failure("internal_error")]
    assert ledgers.run([RunSegment(run_id="run-1")]).totals == RunTotals(run_id="run-1", failures=1, failed=failed)


def test_progress_is_saved_by_the_pool_while_the_run_goes_on(ledgers: Ledgers) -> None:
    saved: list[int] = []

    def progress(totals: RunTotals) -> Callable[[], None]:
        settled = totals.settled
        return lambda: saved.append(settled)

    ledgers.pending = {"0": [key(n) for n in range(200)]}
    run([shard("0")], now=lambda: NOW, deadline=stopped(900), hand_over=pytest.fail, progress=progress)
    assert sorted(saved) == list(range(1, 201))


def test_heads_that_hang_do_not_keep_a_run_from_handing_over(ledgers: Ledgers, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read by the pool, and nothing in flight is waited for until the time to hand over is gone."""
    asked, handed_over, in_time = threading.Event(), threading.Event(), []

    def heads_of(_: Sequence[LedgerKey]) -> dict[LedgerKey, Head]:
        asked.set()
        in_time.append(handed_over.wait(10))
        return {}

    monkeypatch.setattr(ledger_store, "heads_of", heads_of)
    monkeypatch.setattr(runner, "IN_FLIGHT", 4)
    ledgers.pending = {"0": [key(n) for n in range(6)], "1": [key(9000)]}
    rest: list[RunSegment] = []

    def seconds_left() -> float:
        """Time enough at first; half a second before the reserve once four are in flight."""
        return BILL_RESERVE + 0.5 if asked.is_set() else 900

    def hand_over(segment: RunSegment) -> None:
        rest.append(segment)
        handed_over.set()

    totals = run([shard("0"), shard("1")], now=lambda: NOW, deadline=scripted(seconds_left), hand_over=hand_over)
    assert as_first(rest) == [shard("0").behind(key(3)), shard("1")]
    assert in_time
    assert all(in_time)
    assert totals.settled == 4, "each by itself"
