"""Replays: an event whose id is recorded already gets the same answer as the first time, or a conflict.

It is a conflict if the event differs from the entry of that id.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from usage_billing.kernel.errors import BillingError, EventIdConflict
from usage_billing.platform.deadline import Deadline
from usage_billing.platform.failures import as_logged_error
from usage_billing.platform.log_events import LogEvent
from usage_billing.platform.observability import EVENT_ID_CONFLICTS, EVENTS_REPLAYED, count
from usage_billing.usage import store
from usage_billing.usage.admission import require_time
from usage_billing.usage.events import UsageEvent
from usage_billing.usage.ledger import Entry, Head
from usage_billing.usage.outcomes import Outcome, PendingEvent, Recorded


@dataclass(frozen=True, slots=True)
class Replays:
    """Resolves the events of one batch whose ids are recorded. Safe under threads."""

    deadline: Deadline
    _known: dict[tuple[str, str], tuple[Entry, Head | None]] = field(default_factory=dict)
    """Entries that the batch has written or read, by subscription and event id. They need not be read again."""

    def remember(self, entry: Entry, head: Head) -> None:
        self._known[entry.key.subscription_id, entry.event_id] = entry, head

    def resolve(self, events: Iterable[PendingEvent], stored: Entry, head: Head) -> None:
        """Resolve events whose id names `stored`. `head` is a head that was read, maybe of another ledger."""
        for pending in events:
            pending.resolve(self._outcome(pending.event, stored, head))

    def resolve_refused(self, refused: tuple[PendingEvent, BillingError]) -> None:
        """Resolve an event that is refused with this error, unless it was recorded earlier."""
        pending, refusal = refused
        event = pending.event
        outcome: Outcome
        try:
            known = self._known.get((event.subscription_id, event.event_id))
            if known is None:
                require_time(self.deadline)
                stored = store.entry(event.subscription_id, event.event_id)
                known = (stored, None) if stored else None
            outcome = self._outcome(event, *known) if known else refusal
        except Exception as error:
            outcome = as_logged_error(error, LogEvent.EVENTS_NOT_RECORDED)
        pending.resolve(outcome)

    def resolve_duplicate(self, pending: PendingEvent, first: PendingEvent) -> None:
        """Resolve an event that has the id of `first`, an earlier event of the batch in another ledger."""
        event = pending.event
        outcome: Outcome
        try:
            known = self._known.get((event.subscription_id, event.event_id))
            outcome = self._outcome(event, *known) if known else first.outcome
        except Exception as error:
            outcome = as_logged_error(error, LogEvent.EVENTS_NOT_RECORDED)
        pending.resolve(outcome)

    def _outcome(self, event: UsageEvent, stored: Entry, head: Head | None) -> Outcome:
        name = event.subscription_id, event.event_id
        if differences := stored.differences(event):
            self._known.setdefault(name, (stored, None))
            if not event.reported_by_customer:  # the alarm means that a service reuses ids
                count(EVENT_ID_CONFLICTS)
            return EventIdConflict(event.event_id, differences)
        if head is None or head.key != stored.key or head.last_sequence < stored.sequence:
            head = store.head(stored.key)
        assert head is not None, "an entry is written together with its head"
        self._known[name] = stored, head
        count(EVENTS_REPLAYED)
        return Recorded(stored, head, replayed=True)
