"""Stored ledgers replaced by a fake, so that tests of a billing run need no database."""

import threading
from collections.abc import Callable, Iterator
from datetime import datetime

import pytest

from tests.builders import NOW, PERIOD, Number, make_event, make_head, make_key, make_terms
from tests.deadlines import scripted
from usage_billing.billing import ledger_settler
from usage_billing.billing import store as settlement_store
from usage_billing.billing.model import RunSegment, RunTotals
from usage_billing.billing.runner import run
from usage_billing.billing.settlement import Settlement, settle
from usage_billing.billing.unrated_ledgers import Rating
from usage_billing.usage import store as ledger_store
from usage_billing.usage.ledger import Head, LedgerKey


def key(number: int) -> LedgerKey:
    """The key of the ledger with this number. Keys sort like their numbers."""
    return make_key(f"sub-{number:04d}")


def shard(name: str) -> RunSegment:
    return RunSegment(run_id="run-1", shard=name)


def settlement(ledger: LedgerKey, currency: str = "USD", quantity: Number = 1) -> Settlement:
    """The settlement of a ledger with one entry, at 10 per unit."""
    empty = make_head(make_terms(0, 10, currency), key=ledger, period=PERIOD)
    _, head = empty.append(make_event(quantity=quantity, subscription_id=ledger.subscription_id), NOW)
    return settle(head, "run-1", NOW)


class FakeLedgers:
    """The pending ledgers by the name of their shard or subscription, and the outcome of settling each of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pending: dict[str, list[LedgerKey]] = {}
        self.outcome: Callable[[LedgerKey], Settlement | None] = settlement
        self.listed: list[tuple[str, LedgerKey | None]] = []
        self.settled: list[LedgerKey] = []
        self._lock = threading.Lock()
        monkeypatch.setattr(settlement_store, "pending", self.list_pending)
        monkeypatch.setattr(settlement_store, "pending_of", self.list_pending)
        monkeypatch.setattr(ledger_store, "heads_of", lambda _: {})
        monkeypatch.setattr(ledger_settler, "settle_ledger", self._settle)

    def list_pending(self, name: str, after: LedgerKey | None = None) -> Iterator[LedgerKey]:
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
        """Run these segments with `seconds` left."""
        handed_over: list[RunSegment] = []
        totals = run(segments, now=lambda: NOW, deadline=scripted(seconds), hand_over=handed_over.append)
        return Outcome(totals, handed_over)


class Outcome:
    """The result of a run, with the segments that it handed over."""

    def __init__(self, totals: RunTotals, handed_over: list[RunSegment]) -> None:
        assert totals.handed_over == [segment.segment_id for segment in handed_over]
        self.totals, self.handed_over = totals, with_first_id(handed_over)


def with_first_id(handed_over: list[RunSegment]) -> list[RunSegment]:
    """Check that all segments have new, unique ids. Return them with the id `first`, so that they can be compared."""
    assert len({segment.segment_id for segment in handed_over} - {"first"}) == len(handed_over)
    return [segment.model_copy(update={"segment_id": "first"}) for segment in handed_over]


class FailingListing:
    """A listing that fails for shard "0" a number of times. With `progress`, it lists one more ledger each time."""

    def __init__(self, ledgers: FakeLedgers, failures: int, progress: bool) -> None:
        self.failures, self._progress, self._pending = failures, progress, ledgers.list_pending

    def __call__(self, name: str, after: LedgerKey | None = None) -> Iterator[LedgerKey]:
        names = self._pending(name, after)
        if name == "0" and self.failures:
            self.failures -= 1
            if self._progress:
                yield next(names)
            raise ConnectionError("the next page did not come")
        yield from names
