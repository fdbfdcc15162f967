"""The billing run: the order in which ledgers are settled, and what happens if one fails or time runs short.

A run settles the pending ledgers of all sixteen shards. It keeps no state of its own: each ledger is settled in one
transaction or not at all. So runs may overlap, be cut off at any point, and be started again.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime
from itertools import islice
from time import monotonic
from typing import Any
from uuid import uuid4

from usage_billing.billing import ledger_settler, store
from usage_billing.billing.model import Failure, RunSegment, RunTotals, Unrated
from usage_billing.billing.settlement import Settlement
from usage_billing.billing.unrated_ledgers import Rating
from usage_billing.kernel import shards
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
"""Seconds that an invocation waits for its first ledgers, even if it has no time left but the reserve."""

MAX_LISTINGS = 3
"""Maximum attempts to list the ledgers of a run segment before they are left to the next run."""

Progress = Callable[["RunTotals"], Callable[[], None] | None]
"""Returns a function that saves the progress, or None. A thread of the pool calls it, so the run does not wait."""

Heads = Mapping[LedgerKey, Head]
"""Heads that were read with one call. Those that could not be read are missing."""


def whole_run(subscription_id: str | None = None, run_id: str | None = None) -> list[RunSegment]:
    """Return all parts of a new run: one for each shard, or one for a single subscription."""
    run_id = run_id or uuid4().hex
    if subscription_id is not None:
        return [RunSegment(run_id=run_id, subscription_id=subscription_id)]
    return [RunSegment(run_id=run_id, shard=str(shard)) for shard in range(shards.SHARDS)]


def run(
    segments: Sequence[RunSegment],
    *,
    now: Callable[[], datetime],
    deadline: Deadline,
    hand_over: Callable[[RunSegment], None],
    progress: Progress = lambda _: None,
) -> RunTotals:
    """Settle the ledgers of segments, and hand over those for which there is no time.

    The first `IN_FLIGHT` ledgers are started whatever the time. So a run that is handed over always makes progress,
    unless its first ledgers cannot be listed. `progress` is called after each ledger.
    """
    totals = RunTotals(run_id=segments[0].run_id)
    rest = deque((segment, 1) for segment in segments)
    with ThreadPoolExecutor(THREADS) as pool:
        settler = _Settler(totals, pool, now, deadline.less(BILL_RESERVE), progress)
        while rest:
            start, listings = rest.popleft()
            segment = start
            try:
                for key, heads in settler.with_heads(segment):
                    settler.start(key, heads)
                    segment = segment.starting_after(key)
            except _OutOfTime:
                rest.appendleft((segment, listings))
                break
            except _ListingFailed as failed:
                listings = listings if segment == start else 1
                if not _give_up(segment, listings, failed.cause, totals):
                    # Continue with the other segments: the failure may be over by then.
                    rest.append((segment, listings + 1))
                    pause(listings)
        # Hand over before waiting: ledgers in flight may take long, and the invocation may be cut off meanwhile.
        for segment, _ in rest:
            _hand_over(segment.with_id(uuid4().hex), hand_over, totals)
        settler.finish()
    return totals


class _OutOfTime(Exception):
    """Only the reserve of time is left."""


class _ListingFailed(Exception):
    """Not all ledgers of a segment could be listed."""

    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause


class _Settler:
    """Settles the ledgers of an invocation. Only the threads of `pool` wait for AWS; the calling thread never does."""

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
        """Ledgers that are being settled, in the order in which they were started."""
        self._ledgers_started = 0
        self._started = monotonic()

    def with_heads(self, segment: RunSegment) -> Iterator[tuple[LedgerKey, Future[Heads]]]:
        """Return the ledgers of a segment, each with the heads that are read in the same call, its own among them.

        Both are read ahead: while some ledgers are settled, the pool lists the next ones and reads their heads. The
        pool works in order, so ledgers that wait for heads never keep those heads from being read.

        Raises:
            _OutOfTime: the reserve began before the next ledgers were listed.
            _ListingFailed: they could not be listed. Those that were listed are returned first.
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
                    raise _ListingFailed(failure)
                return

    def _wait_for(self, listing: "Future[tuple[list[LedgerKey], Exception | None]]") -> None:
        seconds = self._deadline.left()
        if self._ledgers_started < IN_FLIGHT:
            seconds = max(seconds, GRACE_SECONDS - (monotonic() - self._started))
        wait([listing], max(0, seconds))
        if not listing.done():
            raise _OutOfTime

    def start(self, key: LedgerKey, heads: "Future[Heads]") -> None:
        """Start to settle a ledger. If too many are in flight, wait for the oldest until the reserve begins.

        Raises:
            _OutOfTime: it was not started.
        """
        if self._ledgers_started >= IN_FLIGHT and self._deadline.left() < 0:
            raise _OutOfTime
        if len(self._in_flight) >= IN_FLIGHT:
            wait([self._in_flight[0][1]], max(0, self._deadline.left()))
            if not self._in_flight[0][1].done():
                raise _OutOfTime
            self._collect(*self._in_flight.popleft())
        self._in_flight.append((key, self._pool.submit(self._settle, key, heads)))
        self._ledgers_started += 1

    def finish(self) -> None:
        """Wait for all ledgers in flight."""
        while self._in_flight:
            self._collect(*self._in_flight.popleft())

    def _settle(self, key: LedgerKey, heads: "Future[Heads]") -> Settlement | None:
        """Settle a ledger. Its head is read again by itself if it is missing in `heads`."""
        return ledger_settler.settle_ledger(key, self._totals.run_id, self._now, heads.result().get(key), self._rating)

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
        raise ValueError("a run segment has a shard or a subscription")


def _next_of(keys: Iterator[LedgerKey]) -> tuple[list[LedgerKey], Exception | None]:
    """Return the next ledgers of a list, and the error if not all of them could be listed."""
    found: list[LedgerKey] = []
    try:
        for key in islice(keys, ledger_store.READ_TOGETHER):
            found.append(key)  # noqa: PERF402 - keep the ledgers listed before a failure
    except Exception as error:
        return found, error
    return found, None


def _heads_of(keys: Sequence[LedgerKey]) -> Heads:
    try:
        return ledger_store.heads_of(keys)
    except Exception as error:
        logger.warning(LogEvent.BATCH_READ_FAILED, cause=repr(error))
        return {}


def _give_up(segment: RunSegment, listings: int, cause: Exception, totals: RunTotals) -> bool:
    """Log that a segment could not be listed. Return whether it counts as failed, after too many attempts."""
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
        totals.hand_over_error = error
        logger.exception(LogEvent.RUN_SEGMENT_NOT_ENQUEUED, run_id=segment.run_id, shard=segment.shard)
    else:
        totals.handed_over.append(segment.segment_id)
