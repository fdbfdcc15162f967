"""Record usage events: each exactly once, however often it is sent and whoever else writes at the same time.

The events of a batch are grouped by ledger. A single event is a batch of one.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from usage_billing.kernel.errors import BillingError, LedgerBusy
from usage_billing.platform.deadline import NEVER, Deadline
from usage_billing.platform.failures import as_logged_error
from usage_billing.platform.log_events import LogEvent
from usage_billing.usage import guesses, hot_ledgers
from usage_billing.usage.admission import Admission, require_time
from usage_billing.usage.append_with_retries import Appender, Moved, busy, read_ledgers
from usage_billing.usage.events import UsageEvent
from usage_billing.usage.ledger import LedgerKey
from usage_billing.usage.outcomes import Copies, Outcome, PendingEvent
from usage_billing.usage.store import LEDGERS_PER_READ, LedgerState

THREADS = 8
"""Ledgers of one batch that are written at the same time."""

MAX_ROUNDS = 5
"""Rounds after which events are given up whose ledger keeps changing. One is enough if all ledgers are guessed right, a
second one if not; more are needed only while somebody changes their subscription."""


def record_all(
    events: Sequence[UsageEvent], admission: Admission, *, patient: bool = True, deadline: Deadline = NEVER
) -> list[Outcome]:
    """Record events, several ledgers at a time. Return the outcome of each, in the order given.

    Of two events with the same id the later one is a replay of the first, or conflicts with it. An event that is
    refused, but was recorded before, is a replay all the same.

    After the deadline no event is begun: the rest get LedgerBusy. A caller that is not `patient` gets LedgerBusy after
    few lost races, and at once for a ledger for which a race was lost in the last seconds.
    """
    batch = [PendingEvent(event) for event in events]
    todo: Moved = [(guesses.ledger_of(copies[0].event, admission.now), copies) for copies in _with_copies(batch)]
    appender = Appender(admission, patient, deadline)
    with ThreadPoolExecutor(THREADS) as pool:
        each = pool.map if len(batch) > 1 else map  # a single event needs no thread
        for _ in range(MAX_ROUNDS):
            by_ledger: dict[LedgerKey, list[Copies]] = {}
            for key, copies in todo:
                by_ledger.setdefault(key, []).append(copies)
            todo = []
            # What is read together is written before the next is read, so that it is not out of date by then.
            for ledgers in _parts(by_ledger, LEDGERS_PER_READ):
                states = _read(ledgers, patient, deadline)
                for moved in each(appender.append, states, [ledgers[state.key] for state in states]):
                    todo += moved
    _resolve((copies for _, copies in todo), LedgerBusy("The subscription keeps changing."))
    return [pending.outcome for pending in batch]


def _with_copies(batch: Iterable[PendingEvent]) -> Iterable[Copies]:
    """Group the events of a batch that have the same subscription and id."""
    groups: dict[tuple[str, str], Copies] = {}
    for pending in batch:
        groups.setdefault((pending.event.subscription_id, pending.event.event_id), []).append(pending)
    return groups.values()


def _parts(by_ledger: dict[LedgerKey, list[Copies]], size: int) -> Iterator[dict[LedgerKey, list[Copies]]]:
    """Yield parts of a dictionary, with `size` ledgers in each but the last."""
    items = iter(by_ledger.items())
    while part := dict(islice(items, size)):
        yield part


def _read(ledgers: dict[LedgerKey, list[Copies]], patient: bool, deadline: Deadline) -> list[LedgerState]:
    """Read ledgers with their subscriptions. Resolve the events of those that are not to be recorded to now."""
    cold = []
    for key, events in ledgers.items():
        if not patient and hot_ledgers.is_hot(key):
            _resolve(events, busy(key))
        else:
            cold.append(key)
    try:
        require_time(deadline)
        return read_ledgers(cold) if cold else []
    except Exception as error:
        _resolve(
            (copies for key in cold for copies in ledgers[key]), as_logged_error(error, LogEvent.EVENTS_NOT_RECORDED)
        )
        return []


def _resolve(events: Iterable[Copies], failure: BillingError) -> None:
    for copies in events:
        for pending in copies:
            pending.resolve(failure)
