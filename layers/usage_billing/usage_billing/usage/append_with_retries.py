"""Append the events of one ledger, up to 99 in one transaction, and try again when another writer was faster.

Each attempt is based on the subscription and the ledger's head, read together less than five seconds ago. After a lost
race both are read again, so the events are admitted, rated and assigned to a period by the subscription as it is now.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from usage_billing.kernel.errors import BillingError, LedgerBusy, TooManyUsageTypes
from usage_billing.platform.deadline import Deadline
from usage_billing.platform.failures import as_logged_error
from usage_billing.platform.log_events import LogEvent
from usage_billing.platform.observability import EVENTS_RECORDED, LEDGER_RETRIES, count, logger
from usage_billing.platform.retries import MAX_ATTEMPTS, linger, pause
from usage_billing.subscriptions.model import Subscription
from usage_billing.usage import guesses, hot_ledgers, replays, store
from usage_billing.usage.admission import Admission
from usage_billing.usage.ledger import Head, LedgerKey
from usage_billing.usage.outcomes import Copies, PendingEvent, Recorded
from usage_billing.usage.rating import rate
from usage_billing.usage.store import MAX_ENTRIES, EventsExist, HeadMoved, LedgerState, ReadTooOld
from usage_billing.usage.usage_type_limit import require_room

MAX_IMPATIENT_ATTEMPTS = 2
"""Lost races in a row after which an impatient caller leaves a ledger to the queue."""

MANY_ENTRIES = 10
"""Entries from which losing a race costs more than reading the ledger a few times first. Callers that record single
events usually move the head by fewer between two reads, so they are no reason to wait."""

MAX_HEAD_READS = 20
"""Maximum reads of a head that others keep moving by many entries, before a patient caller tries anyway."""

Moved = list[tuple[LedgerKey, Copies]]
"""Events that turned out to belong to another ledger of their subscription, each with that ledger."""


@dataclass(frozen=True, slots=True)
class Appender:
    """Appends the events of a batch, ledger by ledger. Safe under threads."""

    admission: Admission
    patient: bool
    deadline: Deadline

    def append(self, state: LedgerState, events: list[Copies]) -> Moved:
        """Append events that probably belong to a ledger. Resolve each, except those that are returned.

        `state` is the ledger and its subscription as they were read a moment ago.
        """
        waiting = _by_event_id(events)
        moved: Moved = []
        failure: BillingError
        try:
            self._append(state, waiting, moved)
        except TooManyUsageTypes as error:
            replays.resolve_refused([(pending, error) for pending in _unresolved(waiting)], self.deadline)
            return moved
        except Exception as error:
            failure = as_logged_error(error, LogEvent.EVENTS_NOT_RECORDED)
        else:
            failure = busy(state.key)
        for pending in _unresolved(waiting):
            pending.resolve(failure)
        return moved

    def _append(self, state: LedgerState, waiting: dict[str, Copies], moved: Moved) -> None:
        """Append events, and leave in `waiting` those that are not appended when attempts or time run out."""
        lost = 0
        while lost < (MAX_ATTEMPTS if self.patient else MAX_IMPATIENT_ATTEMPTS) and not self.deadline.has_passed:
            if lost:
                pause(lost)
                state = _read(state.key)  # the head that a lost race returned is out of date after the pause
            quiet = self._quiet(state, len(waiting))
            if quiet is None:
                return
            try:
                for _ in self._transactions(quiet, waiting, moved):
                    # Start counting again after a success. Otherwise lost races add up, and many events are given up.
                    lost = 0
            except HeadMoved:
                count(LEDGER_RETRIES)
                logger.debug(LogEvent.LEDGER_CONFLICT, ledger=state.key.ledger_id)
                hot_ledgers.note_lost_race(state.key)
                lost += 1
            except ReadTooOld:
                lost += 1
            else:
                return

    def _transactions(self, state: LedgerState, waiting: dict[str, Copies], moved: Moved) -> Iterator[None]:
        """Append events in one transaction after the other, and yield after each. Each builds on the one before.

        An event is removed from `waiting` once its outcome is certain, or once it is in `moved`.

        Raises:
            HeadMoved: another writer was faster.
            ReadTooOld: `state` was read too long ago.
        """
        found = self.admission.sort(state, waiting.values())
        moved += found.moved
        waiting.clear()
        waiting.update(_by_event_id(found.admitted))
        replays.resolve_refused(found.refused, self.deadline)
        head = found.head
        while head and waiting and not self.deadline.has_passed:
            events = [copies[0].event for copies in islice(waiting.values(), MAX_ENTRIES)]
            entries, after = _prepared(head, found.subscription).append_all(events, self.admission.now)
            try:
                store.append(head, entries, after, state.read)
            except EventsExist as exist:
                for stored in exist.stored:
                    replays.resolve(waiting[stored.event_id], stored, head)
                    del waiting[stored.event_id]
                continue
            count(EVENTS_RECORDED, len(entries))
            for entry in entries:
                first, *copies = waiting.pop(entry.event_id)
                first.resolve(Recorded(entry, after, replayed=False))
                replays.resolve(copies, entry, after)
            head = after
            yield

    def _quiet(self, state: LedgerState, events: int) -> LedgerState | None:
        """Return a ledger as it is when nobody else fills it, or None to leave it to others for now.

        A transaction costs as much as its entries, a read of a ledger two units. So if there are many events, and a
        race was lost within the last minute, read the ledger until other writers no longer move its head by many
        entries. If they go on, return None where the caller is impatient, or when time runs out.
        """
        if events < MANY_ENTRIES or not hot_ledgers.is_contended(state.key):
            return state
        for _ in range(MAX_HEAD_READS if self.patient else 1):
            linger()
            if self.deadline.has_passed:
                return None
            previous, state = state, _read(state.key)
            if state.last_sequence - previous.last_sequence < MANY_ENTRIES:
                return state
        return state if self.patient else None


def busy(key: LedgerKey) -> LedgerBusy:
    """Return the error that too many others write to a ledger."""
    return LedgerBusy(f"Too many concurrent writes for usage type {key.usage_type} of this subscription.")


def _read(key: LedgerKey) -> LedgerState:
    [state] = read_ledgers([key])
    return state


def read_ledgers(keys: Sequence[LedgerKey]) -> list[LedgerState]:
    """Return up to `store.LEDGERS_PER_READ` ledgers and their subscriptions, and remember the subscriptions."""
    states = store.read_ledgers(keys)
    for state in states:
        if state.subscription:
            guesses.remember(state.subscription)
    return states


def _unresolved(waiting: dict[str, Copies]) -> list[PendingEvent]:
    return [pending for copies in waiting.values() for pending in copies if not pending.is_resolved]


def _by_event_id(events: Iterable[Copies]) -> dict[str, Copies]:
    return {copies[0].event.event_id: copies for copies in events}


def _prepared(head: Head, subscription: Subscription) -> Head:
    """Return the head that entries are appended to: with terms, if there is a quota.

    Raises:
        TooManyUsageTypes: the ledger is not open, and must not be opened.
    """
    if head.last_sequence == 0:
        require_room(head.key)
    return head if head.terms else rate(head, subscription)
