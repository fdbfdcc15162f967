"""The billing run: which ledgers, in what order, what if one fails, what if time runs short.

A run goes over the sixteen shards of ledgers with something unsettled. It holds no state of its own: every ledger is
settled in one transaction or not at all, so runs may overlap, be cut at any point and be started again.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import islice
from uuid import uuid4

from usage_billing import catalog, store
from usage_billing.errors import LedgerBusy, QueueUnavailable
from usage_billing.failures import in_billing_words
from usage_billing.ledger import Head, LedgerKey
from usage_billing.observability import logger
from usage_billing.retries import tries
from usage_billing.settlement import Settlement, settle
from usage_billing.store import HeadMoved
from usage_billing.values import EXACT, Strict

THREADS = 16
IN_FLIGHT = 4 * THREADS
RESERVE_SECONDS = 10.0
"""What is kept of an invocation's time to end what is in flight, hand over the rest and answer."""

Heads = Mapping[LedgerKey, Head]
"""Heads that were read with one call; what could not be read is missing."""

InFlight = deque[tuple[LedgerKey, "Future[Settlement | None]"]]
"""Ledgers that are being settled, the oldest first."""


class Stretch(Strict):
    """A part of a run: the ledgers of one shard, or of one subscription, beginning behind `after`."""

    run_id: str
    shard: str | None = None
    subscription_id: str | None = None
    after: tuple[str, str] | None = None
    """Subscription id and sort key of the last ledger that was taken care of."""

    def ledgers(self) -> Iterator[LedgerKey]:
        after = LedgerKey.parse(*self.after) if self.after else None
        if self.shard is not None:
            return store.pending(self.shard, after)
        if self.subscription_id is not None:
            return store.pending_of(self.subscription_id, after)
        raise ValueError("a stretch is a shard's or a subscription's")

    def behind(self, key: LedgerKey) -> "Stretch":
        return self.model_copy(update={"after": (key.subscription_id, key.sort_key)})


def whole_run(subscription_id: str | None = None) -> list[Stretch]:
    """A new run over everything, or over one subscription."""
    run_id = uuid4().hex
    if subscription_id is not None:
        return [Stretch(run_id=run_id, subscription_id=subscription_id)]
    return [Stretch(run_id=run_id, shard=str(shard)) for shard in range(store.SHARDS)]


@dataclass(slots=True)
class RunTotals:
    """What one invocation did. `unrated` ledgers wait for a quota; `handed_over` stretches go on in the queue.

    `stranded` is why a stretch could not be handed over: its ledgers stay pending for the next run.
    """

    run_id: str
    settled: int = 0
    items: int = 0
    unrated: int = 0
    failures: int = 0
    handed_over: int = 0
    amounts: dict[str, Decimal] = field(default_factory=dict)
    stranded: QueueUnavailable | None = None

    def add(self, settlement: Settlement) -> None:
        self.settled += 1
        if item := settlement.item:
            self.items += 1
            self.amounts[item.currency] = EXACT.add(self.amounts.get(item.currency, Decimal(0)), item.amount)


class Unrated(Exception):
    """A ledger cannot be billed yet: its subscription's plan has no quota for it."""


def run(
    stretches: Sequence[Stretch],
    *,
    now: Callable[[], datetime],
    seconds_left: Callable[[], float],
    hand_over: Callable[[Stretch], None],
) -> RunTotals:
    """Settle the ledgers of `stretches` and hand over what there is no time for.

    At least `IN_FLIGHT` ledgers are taken on before the time is looked at, so a run that is handed over always moves.
    """
    totals = RunTotals(run_id=stretches[0].run_id)
    rest = deque(stretches)
    in_flight: InFlight = deque()
    taken = 0
    with ThreadPoolExecutor(THREADS) as pool:
        while rest:
            stretch, last = rest.popleft(), None
            for key, heads in _with_heads(_listed(stretch, totals), pool):
                late = taken >= IN_FLIGHT and seconds_left() < RESERVE_SECONDS
                if late or not _made_room(in_flight, totals, seconds_left):
                    rest.appendleft(stretch.behind(last) if last else stretch)
                    break
                in_flight.append((key, pool.submit(_settle_listed, key, heads, totals.run_id, now)))
                taken, last = taken + 1, key
            else:
                continue
            break
        # The queue first: what is in flight may take long, and the invocation may be cut off meanwhile.
        for stretch in rest:
            _hand_over(stretch, hand_over, totals)
        while in_flight:
            _collect(*in_flight.popleft(), totals)
    return totals


def _made_room(in_flight: InFlight, totals: RunTotals, seconds_left: Callable[[], float]) -> bool:
    """Whether one more ledger may be taken on; the oldest is waited for no longer than until the reserve begins."""
    if len(in_flight) < IN_FLIGHT:
        return True
    wait([in_flight[0][1]], max(0, seconds_left() - RESERVE_SECONDS))
    if not in_flight[0][1].done():
        return False
    _collect(*in_flight.popleft(), totals)
    return True


def _hand_over(stretch: Stretch, hand_over: Callable[[Stretch], None], totals: RunTotals) -> None:
    try:
        hand_over(stretch)
    except QueueUnavailable as error:
        totals.failures += 1
        totals.stranded = error
        logger.exception("stretch not handed over", run_id=stretch.run_id, shard=stretch.shard)
    else:
        totals.handed_over += 1


def _listed(stretch: Stretch, totals: RunTotals) -> Iterator[LedgerKey]:
    """The ledgers of a stretch. Where they cannot be listed, that is one failure; the other stretches go on."""
    try:
        yield from stretch.ledgers()
    except Exception as error:
        totals.failures += 1
        code = in_billing_words(error).code
        logger.exception("ledgers not listed", run_id=stretch.run_id, shard=stretch.shard, code=code)


def _with_heads(keys: Iterator[LedgerKey], pool: ThreadPoolExecutor) -> Iterator[tuple[LedgerKey, "Future[Heads]"]]:
    """Ledgers, each with the heads that are read with one call, its own among them.

    They are read ahead: while some are settled, the pool reads the next. It takes work in order, so what waits for
    heads never keeps them from being read.
    """
    together: list[LedgerKey] = []
    heads: Future[Heads] = Future()
    while following := list(islice(keys, store.READ_TOGETHER)):
        ahead = pool.submit(_heads_of, following)
        yield from ((key, heads) for key in together)
        together, heads = following, ahead
    yield from ((key, heads) for key in together)


def _heads_of(keys: Sequence[LedgerKey]) -> Heads:
    try:
        return store.heads_of(keys)
    except Exception as error:
        logger.warning("heads not read together", cause=repr(error))
        return {}


def _settle_listed(
    key: LedgerKey, heads: "Future[Heads]", run_id: str, now: Callable[[], datetime]
) -> Settlement | None:
    """Settle one of many ledgers. One whose head could not be read together with others' is read by itself."""
    return settle_ledger(key, run_id, now, heads.result().get(key))


def _collect(key: LedgerKey, future: "Future[Settlement | None]", totals: RunTotals) -> None:
    try:
        settlement = future.result()
    except Unrated as unrated:
        totals.unrated += 1
        logger.warning("quota missing", ledger=key.ledger_id, run_id=totals.run_id, reason=str(unrated))
    except Exception as error:
        totals.failures += 1
        code = in_billing_words(error).code
        logger.exception("ledger not settled", ledger=key.ledger_id, run_id=totals.run_id, code=code)
    else:
        if settlement:
            totals.add(settlement)


def settle_ledger(
    key: LedgerKey, run_id: str, now: Callable[[], datetime], seen: Head | None = None
) -> Settlement | None:
    """Settle one ledger; None where nothing was left to settle. `seen` is its head, if it was read a moment ago.

    Raises:
        Unrated: there is no quota to bill it by; it stays pending.
        InvoiceNotDraft, InvoiceCurrencyMismatch: its invoice cannot take the charge; it stays pending.
        LedgerBusy: others were faster all the time; it stays pending.
    """
    head = seen or store.head(key)
    for _ in tries():
        if head is None or head.is_settled:
            return None
        settlement = settle(head if head.terms else _rated(head), run_id, now())
        try:
            store.save_settlement(settlement, head)
        except HeadMoved as moved:
            head = moved.head or store.head(key)
        else:
            return settlement
    raise LedgerBusy(f"The ledger {key.ledger_id} kept moving.")


def _rated(head: Head) -> Head:
    """An unrated head with the terms that its subscription's plan has by now."""
    plan_id = catalog.subscription(head.key.subscription_id).plan_id
    terms = catalog.terms(plan_id, head.key.usage_type)
    if terms is None:
        raise Unrated(f"the plan {plan_id} has no quota for {head.key.usage_type}")
    return head.rated(terms)
