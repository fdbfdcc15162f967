"""Append the events of one ledger, up to 99 in one transaction, and try again when another writer was faster."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from usage_billing.kernel.errors import BillingError, LedgerBusy, TooManyUsageTypes
from usage_billing.platform.deadline import Deadline
from usage_billing.platform.failures import as_logged_error
from usage_billing.platform.log_events import LogEvent
from usage_billing.platform.observability import EVENTS_RECORDED, LEDGER_RETRIES, count, logger
from usage_billing.platform.retries import MAX_ATTEMPTS, linger, pause
from usage_billing.usage import hot_ledgers, store
from usage_billing.usage.ledger import Head
from usage_billing.usage.outcomes import PendingEvent, Recorded
from usage_billing.usage.rating import rate
from usage_billing.usage.replays import Replays
from usage_billing.usage.store import MAX_ENTRIES, EventsExist, HeadMoved
from usage_billing.usage.usage_type_limit import require_room

MAX_IMPATIENT_ATTEMPTS = 2
"""Lost races in a row after which an impatient caller leaves a ledger to the queue."""

MANY_ENTRIES = 10
"""Entries from which losing a race costs more than reading the head a few times first. Callers that record single
events usually move the head by fewer between two reads, so they are no reason to wait."""

MAX_HEAD_READS = 20
"""Maximum reads of a head that others keep moving by many entries, before a patient caller tries anyway."""


@dataclass(frozen=True, slots=True)
class LedgerEvents:
    """The events of a batch that go to one ledger. `empty` is the ledger's head before its first entry."""

    empty: Head
    events: list[PendingEvent]


@dataclass(frozen=True, slots=True)
class Appender:
    """Appends the events of a batch, ledger by ledger. Safe under threads."""

    now: datetime
    patient: bool
    deadline: Deadline
    replays: Replays

    def append(self, ledger: LedgerEvents) -> None:
        """Append the events of one ledger, and resolve each of them."""
        failure: BillingError
        try:
            self._append(ledger)
        except TooManyUsageTypes as error:
            for pending in _unresolved(ledger):
                self.replays.resolve_refused((pending, error))
            return
        except Exception as error:
            failure = as_logged_error(error, LogEvent.EVENTS_NOT_RECORDED)
        else:
            usage_type = ledger.empty.key.usage_type
            failure = LedgerBusy(f"Too many concurrent writes for usage type {usage_type} of this subscription.")
        for pending in _unresolved(ledger):
            pending.resolve(failure)

    def _append(self, ledger: LedgerEvents) -> None:
        """Append events, and resolve each once its outcome is certain. Leave the rest when attempts or time run out."""
        key = ledger.empty.key
        if not self.patient and hot_ledgers.is_hot(key):
            return
        waiting = _by_event_id(ledger.events)
        max_lost = MAX_ATTEMPTS if self.patient else MAX_IMPATIENT_ATTEMPTS
        head, lost = None, 0
        while waiting and lost < max_lost and not self.deadline.has_passed:
            if head is None:
                head = self._quiet_head(ledger.empty, lost, len(waiting))
                if head is None:
                    return
            next_events = [same_id[0].event for same_id in islice(waiting.values(), MAX_ENTRIES)]
            entries, after = _prepared(head).append_all(next_events, self.now)
            try:
                store.append(head, entries, after)
            except EventsExist as exist:
                for stored in exist.stored:
                    self.replays.resolve(waiting.pop(stored.event_id), stored, head)
            except HeadMoved:
                count(LEDGER_RETRIES)
                logger.debug(LogEvent.LEDGER_CONFLICT, ledger=key.ledger_id)
                hot_ledgers.note_lost_race(key)
                head, lost = None, lost + 1
            else:
                count(EVENTS_RECORDED, len(entries))
                for entry in entries:
                    self.replays.remember(entry, after)
                    first, *copies = waiting.pop(entry.event_id)
                    first.resolve(Recorded(entry, after, replayed=False))
                    self.replays.resolve(copies, entry, after)
                # Start counting again after a success. Otherwise lost races add up, and many events are given up.
                head, lost = after, 0

    def _quiet_head(self, empty: Head, lost: int, events: int) -> Head | None:
        """Read a ledger's head, after a pause if races were lost. Return None to leave the ledger to others for now.

        A transaction costs as much as its entries, a read of the head one unit. So if there are many events, and a
        race was lost within the last minute, read the head until other writers no longer move it by many entries. If
        they go on, return None where the caller is impatient, or when time runs out.
        """
        key = empty.key
        pause(lost)
        head = store.head(key) or empty  # the head that a lost race returned is out of date after the pause
        if events < MANY_ENTRIES or not hot_ledgers.is_contended(key):
            return head
        for _ in range(MAX_HEAD_READS if self.patient else 1):
            linger()
            if self.deadline.has_passed:
                return None
            previous, head = head, store.head(key) or empty
            if head.last_sequence - previous.last_sequence < MANY_ENTRIES:
                return head
        return head if self.patient else None


def _unresolved(ledger: LedgerEvents) -> list[PendingEvent]:
    return [pending for pending in ledger.events if not pending.is_resolved]


def _by_event_id(events: Iterable[PendingEvent]) -> dict[str, list[PendingEvent]]:
    groups: dict[str, list[PendingEvent]] = {}
    for pending in events:
        groups.setdefault(pending.event.event_id, []).append(pending)
    return groups


def _prepared(head: Head) -> Head:
    """Return the head that entries are appended to: with terms, if there is a quota.

    Raises:
        TooManyUsageTypes: the ledger is not open, and must not be opened.
    """
    if head.last_sequence == 0:
        require_room(head.key)
    return head if head.terms else rate(head)
