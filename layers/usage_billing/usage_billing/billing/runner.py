"""The billing run: which ledgers, in what order, what if one fails, what if time runs short.

A run goes over the sixteen shards of ledgers with something unsettled. It holds no state of its own: every ledger is
settled in one transaction or not at all, so runs may overlap, be cut at any point and be started again.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime
from itertools import islice
from time import monotonic
from typing import Any

from usage_billing.billing import settling, store
from usage_billing.billing.model import Failure, RunSegment, RunTotals, Unrated
from usage_billing.billing.rating import Rating
from usage_billing.billing.settlement import Settlement
from usage_billing.kernel.errors import QueueUnavailable
from usage_billing.platform.deadline import BILL_RESERVE, Deadline
from usage_billing.platform.failures import as_billing_error
from usage_billing.platform.log_events import LogEvent
from usage_billing.platform.observability import logger
from usage_billing.platform.retries import pause
from usage_billing.usage import store as ledger_store
from usage_billing.usage.ledger import Head, LedgerKey

THREADS = 16
IN_FLIGHT = 4 * THREADS
GRACE_SECONDS = 2.0
"""How long an invocation waits for its first ledgers even if it has no more time than the reserve."""

MAX_LISTINGS = 3
"""How often a run segment is listed, if listing fails, before its ledgers are left to the next run."""

Progress = Callable[["RunTotals"], Callable[[], None] | None]
"""Says what is to be done about the progress, if anything. The pool does it, so that a run does not wait for it."""

Heads = Mapping[LedgerKey, Head]
"""Heads that were read with one call; what could not be read is missing."""


def run(
    segments: Sequence[RunSegment],
    *,
    now: Callable[[], datetime],
    deadline: Deadline,
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
        work = _Work(totals, pool, now, deadline.less(BILL_RESERVE), progress)
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
        deadline: Deadline,
        progress: Progress,
    ) -> None:
        self._totals, self._pool, self._now = totals, pool, now
        self._deadline, self._progress = deadline, progress
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
        keys = _pending_of(segment)
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
        patience = self._deadline.left()
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
        if self._taken >= IN_FLIGHT and self._deadline.left() < 0:
            raise _OutOfTime
        if len(self._in_flight) >= IN_FLIGHT:
            wait([self._in_flight[0][1]], max(0, self._deadline.left()))
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
        return settling.settle_ledger(key, self._totals.run_id, self._now, heads.result().get(key), self._rating)

    def _collect(self, key: LedgerKey, future: "Future[Settlement | None]") -> None:
        totals = self._totals
        try:
            settlement = future.result()
        except Unrated as unrated:
            totals.add_unrated(key, unrated)
        except Exception as error:
            code = as_billing_error(error).code
            totals.add_failure(Failure(code, key))
            logger.exception(LogEvent.LEDGER_NOT_SETTLED, ledger=key.ledger_id, run_id=totals.run_id, code=code)
        else:
            if settlement:
                totals.add(settlement)
        if save := self._progress(totals):
            self._pool.submit(save)


def _pending_of(segment: RunSegment) -> Iterator[LedgerKey]:
    after = LedgerKey.parse(*segment.after) if segment.after else None
    if segment.shard is not None:
        yield from store.pending(segment.shard, after)
    elif segment.subscription_id is not None:
        yield from store.pending_of(segment.subscription_id, after)
    else:
        raise ValueError("a run segment is a shard's or a subscription's")


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
        logger.warning(LogEvent.BATCH_READ_FAILED, cause=repr(error))
        return {}


def _given_up(segment: RunSegment, listings: int, cause: Exception, totals: RunTotals) -> bool:
    """Return whether a segment was listed so often in vain that it counts as failed."""
    code = as_billing_error(cause).code
    about: dict[str, Any] = {"run_id": segment.run_id, "shard": segment.shard, "code": code, "exc_info": cause}
    if listings < MAX_LISTINGS:
        logger.warning(LogEvent.LEDGER_LISTING_RETRIED, **about)
        return False
    totals.add_failure(Failure(code, shard=segment.shard, subscription_id=segment.subscription_id))
    logger.error(LogEvent.LEDGERS_NOT_LISTED, **about)
    return True


def _hand_over(segment: RunSegment, hand_over: Callable[[RunSegment], None], totals: RunTotals) -> None:
    try:
        hand_over(segment)
    except QueueUnavailable as error:
        totals.add_failure(Failure(error.code, shard=segment.shard, subscription_id=segment.subscription_id))
        totals.stranded = error
        logger.exception(LogEvent.RUN_SEGMENT_NOT_ENQUEUED, run_id=segment.run_id, shard=segment.shard)
    else:
        totals.handed_over.append(segment.segment_id)
