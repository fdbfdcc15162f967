"""Replays: an event whose id is recorded already gets the same answer as the first time, or a conflict.

It is a conflict if the event differs from the entry of that id.
"""

from collections.abc import Iterable, Sequence

from usage_billing.kernel.errors import BillingError, EventIdConflict
from usage_billing.platform.deadline import Deadline
from usage_billing.platform.failures import as_logged_error
from usage_billing.platform.log_events import LogEvent
from usage_billing.platform.observability import EVENT_ID_CONFLICTS, EVENTS_REPLAYED, count
from usage_billing.usage import store
from usage_billing.usage.admission import require_time
from usage_billing.usage.events import UsageEvent
from usage_billing.usage.ledger import Entry, Head, LedgerKey
from usage_billing.usage.outcomes import Outcome, PendingEvent, Recorded

Refused = Sequence[tuple[PendingEvent, BillingError]]
"""Events, each with the error with which it is refused."""


def resolve(events: Iterable[PendingEvent], stored: Entry, head: Head) -> None:
    """Resolve events whose id names `stored`. `head` was read, maybe before `stored` was written or in another ledger.

    Raises:
        PynamoDBException, BotoCoreError: the ledger's head could not be read. Some events may be resolved.
    """
    heads = {head.key: head}
    for pending in events:
        pending.resolve(_outcome(pending.event, stored, heads))


def resolve_refused(refused: Refused, deadline: Deadline) -> None:
    """Resolve events of one subscription: with the errors with which they are refused, unless they are recorded."""
    for start in range(0, len(refused), store.ENTRIES_PER_READ):
        part = refused[start : start + store.ENTRIES_PER_READ]
        try:
            outcomes = _outcomes(part, deadline)
        except Exception as error:
            outcomes = [as_logged_error(error, LogEvent.EVENTS_NOT_RECORDED)] * len(part)
        for (pending, _), outcome in zip(part, outcomes, strict=True):
            pending.resolve(outcome)


def _outcomes(refused: Refused, deadline: Deadline) -> list[Outcome]:
    require_time(deadline)
    stored = store.entries_of(refused[0][0].event.subscription_id, [pending.event.event_id for pending, _ in refused])
    heads: dict[LedgerKey, Head] = {}
    return [
        _outcome(pending.event, stored[pending.event.event_id], heads) if pending.event.event_id in stored else refusal
        for pending, refusal in refused
    ]


def _outcome(event: UsageEvent, stored: Entry, heads: dict[LedgerKey, Head]) -> Outcome:
    """Compare an event with the entry of its id. `heads` were read; the one of the entry is added if it is needed."""
    if differences := stored.differences(event):
        if not event.reported_by_customer:  # the alarm means that a service reuses ids
            count(EVENT_ID_CONFLICTS)
        return EventIdConflict(event.event_id, differences)
    head = heads.get(stored.key)
    if head is None or head.last_sequence < stored.sequence:
        head = store.head(stored.key)
        assert head is not None, "an entry is written together with its head"
        heads[stored.key] = head
    count(EVENTS_REPLAYED)
    return Recorded(stored, head, replayed=True)
