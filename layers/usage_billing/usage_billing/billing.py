"""The billing run: which ledgers, in what order, what if one fails, what if time runs short.

A run goes over the sixteen shards of ledgers with something unsettled. It holds no state of its own: every ledger is
settled in one transaction or not at all, so runs may overlap, be cut at any point and be started again.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import islice
from time import monotonic
from typing import Any
from uuid import uuid4

from usage_billing import store
from usage_billing.kernel.errors import LedgerBusy, QueueUnavailable
from usage_billing.kernel.fields import Strict
from usage_billing.kernel.numbers import EXACT
from usage_billing.platform import shards
from usage_billing.platform.failures import as_billing_error
from usage_billing.platform.observability import logger
from usage_billing.platform.retries import attempts, pause
from usage_billing.rating import Rating, Unrated
from usage_billing.settlement import Settlement, settle
from usage_billing.usage import store as ledger_store
from usage_billing.usage.ledger import Head, LedgerKey
from usage_billing.usage.store import HeadMoved

THREADS = 16
IN_FLIGHT = 4 * THREADS
RESERVE_SECONDS = 10.0
"""What is kept of an invocation's time to end what is in flight, hand over the rest and answer."""

GRACE_SECONDS = 2.0
"""How long an invocation waits for its first ledgers even if it has no more time than the reserve."""

MAX_LISTINGS = 3
"""How often a run segment is listed, if listing fails, before its ledgers are left to the next run."""

MAX_NAMED = 100
"""How many failures and how many unrated ledgers are named; all are counted."""

FIRST_SEGMENT = "first"

Progress = Callable[["RunTotals"], Callable[[], None] | None]
"""Says what is to be done about the progress, if anything. The pool does it, so that a run does not wait for it."""

Heads = Mapping[LedgerKey, Head]
"""Heads that were read with one call; what could not be read is missing."""


class RunSegment(Strict):
    """A part of a run: the ledgers of one shard, or of one subscription, beginning behind `after`.

    All shards of a new run are one segment; each that is handed over is one of its own.
    """

    run_id: str
    segment_id: str = FIRST_SEGMENT
    shard: str | None = None
    subscription_id: str | None = None
    after: tuple[str, str] | None = None
    """Subscription id and sort key of the last ledger that was taken care of."""

    def ledgers(self) -> Iterator[LedgerKey]:
        after = LedgerKey.parse(*self.after) if self.after else None
        if self.shard is not None:
            yield from store.pending(self.shard, after)
        elif self.subscription_id is not None:
            yield from store.pending_of(self.subscription_id, after)
        else:
            raise ValueError("a run segment is a shard's or a subscription's")

    def behind(self, key: LedgerKey) -> "RunSegment":
        return self.model_copy(update={"after": (key.subscription_id, key.sort_key)})

    def as_new(self) -> "RunSegment":
        """Return the same part under an id of its own."""
        return self.model_copy(update={"segment_id": uuid4().hex})


def whole_run(subscription_id: str | None = None, run_id: str | None = None) -> list[RunSegment]:
    """Return the first segment of a new run over everything, or over one subscription."""
    run_id = run_id or uuid4().hex
    if subscription_id is not None:
        return [RunSegment(run_id=run_id, subscription_id=subscription_id)]
    return [RunSegment(run_id=run_id, shard=str(shard)) for shard in range(shards.SHARDS)]


@dataclass(frozen=True, slots=True)
class Failure:
    """What was not done, and why: a ledger, or without `key` all ledgers of a shard or subscription that were left."""

    code: str
    key: LedgerKey | None = None
    shard: str | None = None
    subscription_id: str | None = None


@dataclass(frozen=True, slots=True)
class UnratedLedger:
    """A ledger that waits for a quota of the plan."""

    key: LedgerKey
    plan_id: str


@dataclass(slots=True)
class RunTotals:
    """What one invocation did. `unrated` ledgers wait for a quota; the segments `handed_over` go on in the queue.

    `failed` and `unrated_ledgers` name the first ones. `stranded` is why a segment could not be handed over: its
    ledgers stay pending for the next run.
    """

    run_id: str
    settled: int = 0
    items: int = 0
    unrated: int = 0
    failures: int = 0
    handed_over: list[str] = field(default_factory=list)
    amounts: dict[str, Decimal] = field(default_factory=dict)
    quotas_missing: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How many ledgers wait for the quota of a plan and usage type."""
    failed: list[Failure] = field(default_factory=list)
    unrated_ledgers: list[UnratedLedger] = field(default_factory=list)
    stranded: QueueUnavailable | None = None

    def add(self, settlement: Settlement) -> None:
        self.settled += 1
        if item := settlement.item:
            self.items += 1
            self.amounts[item.currency] = EXACT.add(self.amounts.get(item.currency, Decimal(0)), item.amount)

    def add_failure(self, failure: Failure) -> None:
        self.failures += 1
        if len(self.failed) < MAX_NAMED:
            self.failed.append(failure)

    def add_unrated(self, key: LedgerKey, unrated: Unrated) -> None:
        self.unrated += 1
        self.quotas_missing[unrated.plan_id, unrated.usage_type] += 1
        if len(self.unrated_ledgers) < MAX_NAMED:
            self.unrated_ledgers.append(UnratedLedger(key, unrated.plan_id))


def run(
    segments: Sequence[RunSegment],
    *,
    now: Callable[[], datetime],
    seconds_left: Callable[[], float],
    hand_over: Callable[[RunSegment], None],
    progress: Progress = lambda _: None,
) -> RunTotals:
    """Settle the ledgers of `segments` and hand over what there is no time for.

    At least `IN_FLIGHT` ledgers are taken on before the time is looked at, so a run that is handed over always moves,
    unless the first of them cannot even be listed. `progress` is asked after each ledger.
    """
    totals = RunTotals(run_id=segments[0].run_id)
    rest = deque((segment, 1) for segment in segments)
    with ThreadPoolExecutor(THREADS) as pool:
        work = _Work(totals, pool, now, seconds_left, progress)
        while rest:
            begun, listings = rest.popleft()
            segment = begun
            try:
                for key, heads in work.with_heads(segment):
                    work.take_on(key, heads)
                    segment = segment.behind(key)
            except _OutOfTime:
                rest.appendleft((segment, listings))
                break
            except _NotListed as failed:
                listings = listings if segment == begun else 1
                if not _given_up(segment, listings, failed.cause, totals):
                    # The others first: what failed for a moment has passed by then.
                    rest.append((segment, listings + 1))
                    pause(listings)
        # The queue first: what is in flight may take long, and the invocation may be cut off meanwhile.
        for segment, _ in rest:
            _hand_over(segment.as_new(), hand_over, totals)
        work.finish()
    return totals


class _OutOfTime(Exception):
    """The reserve has begun."""


class _NotListed(Exception):
    """The ledgers of a segment could not be listed, or not all of them."""

    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause


class _Work:
    """The ledgers that an invocation has taken on. Only the threads of `pool` wait for AWS; this one never does."""

    def __init__(
        self,
        totals: RunTotals,
        pool: ThreadPoolExecutor,
        now: Callable[[], datetime],
        seconds_left: Callable[[], float],
        progress: Progress,
    ) -> None:
        self._totals, self._pool, self._now = totals, pool, now
        self._seconds_left, self._progress = seconds_left, progress
        self._rating = Rating()
        self._in_flight: deque[tuple[LedgerKey, Future[Settlement | None]]] = deque()
        """Ledgers that are being settled, the oldest first."""
        self._taken = 0
        self._started = monotonic()

    def with_heads(self, segment: RunSegment) -> Iterator[tuple[LedgerKey, Future[Heads]]]:
        """Return the ledgers of a segment, each with the heads that are read with one call, its own among them.

        Both are read ahead: while some are settled, the pool lists the next and reads their heads. It takes work in
        order, so what waits for heads never keeps them from being read.

        Raises:
            _OutOfTime: the reserve began before the next ledgers were listed.
            _NotListed: they could not be listed. All that were are returned before.
        """
        keys = segment.ledgers()
        listing = self._pool.submit(_next_of, keys)
        ready: list[tuple[LedgerKey, Future[Heads]]] = []
        while True:
            if not listing.done():
                yield from ready
                ready = []
            self._wait_for(listing)
            found, failure = listing.result()
            more = failure is None and len(found) == ledger_store.READ_TOGETHER
            if more:
                listing = self._pool.submit(_next_of, keys)
            following: list[tuple[LedgerKey, Future[Heads]]] = []
            if found:
                heads = self._pool.submit(_heads_of, found)
                following = [(key, heads) for key in found]
            yield from ready
            ready = following
            if not more:
                yield from ready
                if failure is not None:
                    raise _NotListed(failure)
                return

    def _wait_for(self, listing: "Future[tuple[list[LedgerKey], Exception | None]]") -> None:
        patience = self._seconds_left() - RESERVE_SECONDS
        if self._taken < IN_FLIGHT:
            patience = max(patience, GRACE_SECONDS - (monotonic() - self._started))
        wait([listing], max(0, patience))
        if not listing.done():
            raise _OutOfTime

    def take_on(self, key: LedgerKey, heads: "Future[Heads]") -> None:
        """Settle one more ledger; the oldest is waited for no longer than until the reserve begins.

        Raises:
            _OutOfTime: it was not taken on.
        """
        if self._taken >= IN_FLIGHT and self._seconds_left() < RESERVE_SECONDS:
            raise _OutOfTime
        if len(self._in_flight) >= IN_FLIGHT:
            wait([self._in_flight[0][1]], max(0, self._seconds_left() - RESERVE_SECONDS))
            if not self._in_flight[0][1].done():
                raise _OutOfTime
            self._collect(*self._in_flight.popleft())
        self._in_flight.append((key, self._pool.submit(self._settle, key, heads)))
        self._taken += 1

    def finish(self) -> None:
        """Wait for all that is in flight."""
        while self._in_flight:
            self._collect(*self._in_flight.popleft())

    def _settle(self, key: LedgerKey, heads: "Future[Heads]") -> Settlement | None:
        """Settle one of many ledgers. One whose head could not be read together with others' is read by itself."""
        return settle_ledger(key, self._totals.run_id, self._now, heads.result().get(key), self._rating)

    def _collect(self, key: LedgerKey, future: "Future[Settlement | None]") -> None:
        totals = self._totals
        try:
            settlement = future.result()
        except Unrated as unrated:
            totals.add_unrated(key, unrated)
        except Exception as error:
            code = as_billing_error(error).code
            totals.add_failure(Failure(code, key))
            logger.exception("ledger not settled", ledger=key.ledger_id, run_id=totals.run_id, code=code)
        else:
            if settlement:
                totals.add(settlement)
        if save := self._progress(totals):
            self._pool.submit(save)


def _next_of(keys: Iterator[LedgerKey]) -> tuple[list[LedgerKey], Exception | None]:
    """Return the next ledgers of a list, and why there are no more of them, if that failed."""
    found: list[LedgerKey] = []
    try:
        for key in islice(keys, ledger_store.READ_TOGETHER):
            found.append(key)  # noqa: PERF402 - what was listed before a failure is kept
    except Exception as error:
        return found, error
    return found, None


def _heads_of(keys: Sequence[LedgerKey]) -> Heads:
    try:
        return ledger_store.heads_of(keys)
    except Exception as error:
        logger.warning("heads not read together", cause=repr(error))
        return {}


def _given_up(segment: RunSegment, listings: int, cause: Exception, totals: RunTotals) -> bool:
    """Return whether a segment was listed so often in vain that it counts as failed."""
    code = as_billing_error(cause).code
    about: dict[str, Any] = {"run_id": segment.run_id, "shard": segment.shard, "code": code, "exc_info": cause}
    if listings < MAX_LISTINGS:
        logger.warning("ledgers not listed, trying again", **about)
        return False
    totals.add_failure(Failure(code, shard=segment.shard, subscription_id=segment.subscription_id))
    logger.error("ledgers not listed", **about)
    return True


def _hand_over(segment: RunSegment, hand_over: Callable[[RunSegment], None], totals: RunTotals) -> None:
    try:
        hand_over(segment)
    except QueueUnavailable as error:
        totals.add_failure(Failure(error.code, shard=segment.shard, subscription_id=segment.subscription_id))
        totals.stranded = error
        logger.exception("run segment not enqueued", run_id=segment.run_id, shard=segment.shard)
    else:
        totals.handed_over.append(segment.segment_id)


def settle_ledger(
    key: LedgerKey,
    run_id: str,
    now: Callable[[], datetime],
    seen: Head | None = None,
    rating: Rating | None = None,
) -> Settlement | None:
    """Settle one ledger; None where nothing was left to settle. `seen` is its head, if it was read a moment ago.

    Raises:
        Unrated: there is no quota to bill it by; it stays pending.
        InvoiceNotDraft, InvoiceCurrencyMismatch: its invoice cannot take the charge; it stays pending.
        LedgerBusy: others were faster all the time; it stays pending.
    """
    head = seen or ledger_store.head(key)
    rating = rating or Rating()
    for _ in attempts():
        if head is None or head.is_settled:
            return None
        settlement = settle(head if head.terms else rating.rated(head), run_id, now())
        try:
            store.save_settlement(settlement, head)
        except HeadMoved as moved:
            head = moved.head or ledger_store.head(key)
        else:
            return settlement
    raise LedgerBusy(f"The ledger {key.ledger_id} kept moving.")
