"""A billing run that runs out of time: it hands over run segments, also while calls hang."""

import threading
from collections.abc import Iterator, Sequence

import pytest

from tests.builders import NOW
from tests.deadlines import scripted, stopped
from tests.unit.fake_ledgers import FailingListing, FakeLedgers, key, shard, with_first_id
from usage_billing.billing import runner
from usage_billing.billing import store as settlement_store
from usage_billing.billing.model import RunSegment
from usage_billing.billing.runner import IN_FLIGHT, run
from usage_billing.platform.deadline import BILL_RESERVE
from usage_billing.usage import store as ledger_store
from usage_billing.usage.ledger import Head, LedgerKey


def test_a_shard_whose_listing_failed_is_handed_over_when_time_runs_out(
    ledgers: FakeLedgers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settlement_store, "pending", FailingListing(ledgers, failures=1, progress=True))
    ledgers.pending = {"0": [key(n) for n in range(4)], "1": [key(9000 + n) for n in range(IN_FLIGHT)]}
    outcome = ledgers.run([shard("0"), shard("1")], seconds=lambda: 0)
    assert shard("0").starting_after(key(0)) in outcome.handed_over
    assert outcome.totals.failures == 0


def test_a_hanging_listing_does_not_prevent_a_run_from_handing_over(
    ledgers: FakeLedgers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third of four shards hangs. Ledgers listed before are settled, and the rest is handed over meanwhile."""
    whole, hanging, handed_over, in_time = ledgers.list_pending, threading.Event(), threading.Event(), []

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
        """Enough time at first. Once a listing hangs, half a second more than the reserve."""
        return BILL_RESERVE + 0.5 if hanging.is_set() else 900

    segments = [shard(name) for name in "0123"]
    totals = run(segments, now=lambda: NOW, deadline=scripted(seconds_left), hand_over=hand_over)
    assert in_time == [True]
    assert with_first_id(rest) == [shard("2").starting_after(key(200 + ledger_store.READ_TOGETHER - 1)), shard("3")]
    assert (totals.settled, totals.failures) == (2 + ledger_store.READ_TOGETHER, 0)


def test_a_run_without_time_still_waits_a_moment_for_the_first_listing(
    ledgers: FakeLedgers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a run that is handed over again and again might never settle anything."""
    release = threading.Event()

    def slow(name: str, after: LedgerKey | None = None) -> Iterator[LedgerKey]:
        release.wait(0.2)
        yield key(1)

    monkeypatch.setattr(settlement_store, "pending", slow)
    assert ledgers.run([shard("0")], seconds=lambda: 0).totals.settled == 1
    monkeypatch.setattr(runner, "GRACE_SECONDS", 0.05)
    outcome = ledgers.run([shard("0")], seconds=lambda: 0)
    assert (outcome.totals.settled, outcome.handed_over) == (0, [shard("0")])


def test_a_run_without_time_hands_over_the_rest_from_where_it_stopped(ledgers: FakeLedgers) -> None:
    ledgers.pending = {"0": [key(n) for n in range(IN_FLIGHT + 10)], "1": [key(9000)]}
    outcome = ledgers.run([shard("0"), shard("1")], seconds=lambda: BILL_RESERVE - 0.001)
    last = key(IN_FLIGHT - 1)
    assert outcome.handed_over == [
        RunSegment(run_id="run-1", shard="0", after=(last.subscription_id, last.sort_key)),
        shard("1"),
    ]
    assert outcome.totals.settled == IN_FLIGHT


def test_segments_without_a_settled_ledger_are_handed_over_from_their_beginning(ledgers: FakeLedgers) -> None:
    ledgers.pending = {"0": [key(n) for n in range(IN_FLIGHT)], "1": [key(9000)], "2": [key(9001)]}
    outcome = ledgers.run([shard("0"), shard("1"), shard("2")], seconds=lambda: 0)
    assert outcome.handed_over == [shard("1"), shard("2")]
    assert outcome.totals.settled == IN_FLIGHT


def test_a_run_continues_with_exactly_the_reserve_left(ledgers: FakeLedgers) -> None:
    ledgers.pending = {"0": [key(n) for n in range(IN_FLIGHT + 1)]}
    assert ledgers.run([shard("0")], seconds=lambda: BILL_RESERVE).handed_over == []


def test_handing_over_repeatedly_settles_every_ledger_once(ledgers: FakeLedgers) -> None:
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


def test_a_failed_hand_over_raises_an_error_after_the_ledgers_in_flight_are_settled(ledgers: FakeLedgers) -> None:
    ledgers.pending = {"0": [key(n) for n in range(IN_FLIGHT + 1)]}

    def refuse(_: RunSegment) -> None:
        raise ConnectionError("no queue")

    with pytest.raises(ConnectionError):
        run([shard("0")], now=lambda: NOW, deadline=stopped(0), hand_over=refuse)
    assert len(ledgers.settled) == IN_FLIGHT


def test_hanging_reads_of_heads_do_not_prevent_a_run_from_handing_over(
    ledgers: FakeLedgers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pool reads them, and the run does not wait for anything in flight until it has handed over."""
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
        """Enough time at first. Once four are in flight, half a second more than the reserve."""
        return BILL_RESERVE + 0.5 if asked.is_set() else 900

    def hand_over(segment: RunSegment) -> None:
        rest.append(segment)
        handed_over.set()

    totals = run([shard("0"), shard("1")], now=lambda: NOW, deadline=scripted(seconds_left), hand_over=hand_over)
    assert with_first_id(rest) == [shard("0").starting_after(key(3)), shard("1")]
    assert in_time
    assert all(in_time)
    assert totals.settled == 4, "not every ledger was settled without its head"
