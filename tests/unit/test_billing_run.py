"""A billing run by itself: the order, the deadline, failures that stop nothing, and how much is under way at once."""

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from usage_billing import billing, store
from usage_billing.billing import IN_FLIGHT, RESERVE_SECONDS, RunTotals, Stretch, Unrated, run, whole_run
from usage_billing.errors import InvoiceNotDraft
from usage_billing.ledger import Head, LedgerKey, UsageEvent
from usage_billing.periods import MonthlyCycle
from usage_billing.pricing import Terms
from usage_billing.settlement import Settlement, settle

NOW = datetime(2026, 11, 20, tzinfo=UTC)
PERIOD = MonthlyCycle(1).period_of(NOW)


def key(number: int, subscription: str = "sub") -> LedgerKey:
    return LedgerKey(f"{subscription}-{number:04d}", PERIOD.key, "assessment")


def settlement(ledger: LedgerKey, currency: str = "USD", quantity: int = 1) -> Settlement:
    terms = Terms("p", Decimal(0), Decimal(10), "unit", currency)
    _, head = Head(ledger, "user-1", PERIOD, terms).append(
        UsageEvent("e", "user-1", ledger.subscription_id, "assessment", Decimal(quantity)), NOW
    )
    return settle(head, "run-1", NOW)


class Ledgers:
    """Stands in for what is stored: pending ledgers by stretch, and what settling one of them does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pending: dict[str, list[LedgerKey]] = {}
        self.outcome: Callable[[LedgerKey], Settlement | None] = settlement
        self.listed: list[tuple[str, LedgerKey | None]] = []
        self.settled: list[LedgerKey] = []
        self._lock = threading.Lock()
        monkeypatch.setattr(store, "pending", self._pending)
        monkeypatch.setattr(store, "pending_of", self._pending)
        monkeypatch.setattr(store, "heads_of", lambda _: {})
        monkeypatch.setattr(billing, "settle_ledger", self._settle)

    def _pending(self, name: str, after: LedgerKey | None = None) -> Iterator[LedgerKey]:
        self.listed.append((name, after))
        names = self.pending.get(name, [])
        yield from names[names.index(after) + 1 if after else 0 :]

    def _settle(
        self, ledger: LedgerKey, run_id: str, now: Callable[[], datetime], seen: Head | None
    ) -> Settlement | None:
        assert now() == NOW
        with self._lock:
            self.settled.append(ledger)
        return self.outcome(ledger)

    def run(self, stretches: list[Stretch], seconds: Callable[[], float] = lambda: 900) -> "Outcome":
        handed_over: list[Stretch] = []
        totals = run(stretches, now=lambda: NOW, seconds_left=seconds, hand_over=handed_over.append)
        return Outcome(totals, handed_over)


class Outcome:
    def __init__(self, totals: RunTotals, handed_over: list[Stretch]) -> None:
        self.totals, self.handed_over = totals, handed_over


@pytest.fixture
def ledgers(monkeypatch: pytest.MonkeyPatch) -> Ledgers:
    return Ledgers(monkeypatch)


def shard(name: str) -> Stretch:
    return Stretch(run_id="run-1", shard=name)


def test_a_whole_run_goes_over_every_shard_under_one_id() -> None:
    stretches = whole_run()
    assert [stretch.shard for stretch in stretches] == [str(number) for number in range(16)]
    assert len({stretch.run_id for stretch in stretches}) == 1
    assert whole_run()[0].run_id != stretches[0].run_id


def test_every_ledger_belongs_to_a_shard_of_a_whole_run() -> None:
    shards = {store.shard_of(key(number).ledger_id) for number in range(1000)}
    assert shards == {stretch.shard for stretch in whole_run()}


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
        raise Unrated("no quota")

    ledgers.pending = {"0": [key(1), key(2)]}
    ledgers.outcome = unrated
    totals = ledgers.run([shard("0")]).totals
    assert (totals.settled, totals.failures, totals.unrated) == (0, 0, 2)


def test_a_shard_that_cannot_be_listed_is_one_failure_and_the_others_go_on(
    ledgers: Ledgers, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ledgers._pending

    def broken(name: str, after: LedgerKey | None = None) -> Iterator[LedgerKey]:
        names = whole(name, after)
        yield next(names)
        if name == "0":
            raise ConnectionError("the second page did not come")
        yield from names

    monkeypatch.setattr(store, "pending", broken)
    ledgers.pending = {"0": [key(1), key(2)], "1": [key(3), key(4)]}
    outcome = ledgers.run([shard("0"), shard("1")])
    assert (outcome.totals.settled, outcome.totals.failures) == (3, 1)
    assert key(2) not in ledgers.settled
    assert outcome.handed_over == []


def test_what_there_is_no_time_for_is_handed_over_from_where_it_was_left(ledgers: Ledgers) -> None:
    ledgers.pending = {"0": [key(n) for n in range(IN_FLIGHT + 10)], "1": [key(9000)]}
    outcome = ledgers.run([shard("0"), shard("1")], seconds=lambda: RESERVE_SECONDS - 0.001)
    last = key(IN_FLIGHT - 1)
    assert outcome.handed_over == [
        Stretch(run_id="run-1", shard="0", after=(last.subscription_id, last.sort_key)),
        shard("1"),
    ]
    assert (outcome.totals.settled, outcome.totals.handed_over) == (IN_FLIGHT, 2)


def test_a_stretch_that_has_just_begun_is_handed_over_whole(ledgers: Ledgers) -> None:
    ledgers.pending = {"0": [key(n) for n in range(IN_FLIGHT)], "1": [key(9000)], "2": [key(9001)]}
    outcome = ledgers.run([shard("0"), shard("1"), shard("2")], seconds=lambda: 0)
    assert outcome.handed_over == [shard("1"), shard("2")]
    assert outcome.totals.settled == IN_FLIGHT


def test_with_exactly_the_reserve_left_a_run_goes_on(ledgers: Ledgers) -> None:
    ledgers.pending = {"0": [key(n) for n in range(IN_FLIGHT + 1)]}
    assert ledgers.run([shard("0")], seconds=lambda: RESERVE_SECONDS).handed_over == []


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

    def refuse(_: Stretch) -> None:
        raise ConnectionError("no queue")

    with pytest.raises(ConnectionError):
        run([shard("0")], now=lambda: NOW, seconds_left=lambda: 0, hand_over=refuse)
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
    store.pending = many  # the fixture puts the real one back
    totals = ledgers.run([shard("0")]).totals
    assert totals.settled == 4 * IN_FLIGHT
    assert most <= IN_FLIGHT + 2 * store.READ_TOGETHER


def test_a_stretch_reads_back_from_the_queue() -> None:
    for stretch in [*whole_run(), *whole_run("sub-1"), shard("3").behind(key(5))]:
        for text in (stretch.model_dump_json(), stretch.model_dump_json(by_alias=True, exclude_none=True)):
            assert Stretch.model_validate_json(text) == stretch


def test_a_stretch_of_nothing_is_one_failure(ledgers: Ledgers) -> None:
    assert ledgers.run([Stretch(run_id="run-1")]).totals == RunTotals(run_id="run-1", failures=1)


def test_heads_that_hang_do_not_keep_a_run_from_handing_over(ledgers: Ledgers, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read by the pool, and nothing in flight is waited for until the time to hand over is gone."""
    asked, handed_over, in_time = threading.Event(), threading.Event(), []

    def heads_of(_: Sequence[LedgerKey]) -> dict[LedgerKey, Head]:
        asked.set()
        in_time.append(handed_over.wait(10))
        return {}

    monkeypatch.setattr(store, "heads_of", heads_of)
    monkeypatch.setattr(billing, "IN_FLIGHT", 4)
    ledgers.pending = {"0": [key(n) for n in range(6)], "1": [key(9000)]}
    rest: list[Stretch] = []

    def seconds_left() -> float:
        """Time enough at first; half a second before the reserve once four are in flight."""
        return RESERVE_SECONDS + 0.5 if asked.is_set() else 900

    def hand_over(stretch: Stretch) -> None:
        rest.append(stretch)
        handed_over.set()

    totals = run([shard("0"), shard("1")], now=lambda: NOW, seconds_left=seconds_left, hand_over=hand_over)
    assert rest == [shard("0").behind(key(3)), shard("1")]
    assert in_time
    assert all(in_time)
    assert totals.settled == 4, "each by itself"
