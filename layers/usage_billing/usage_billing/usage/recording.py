"""Recording usage events: append each to its ledger, once, whatever is retried, repeated or raced.

Events go ledger by ledger, up to 99 in one transaction with the head; one event is a ledger with one event.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from usage_billing.kernel.errors import (
    BillingError,
    EventIdConflict,
    FieldError,
    InternalError,
    LedgerBusy,
    SubscriptionInactive,
    SubscriptionNotOwned,
    TooManyUsageTypes,
    ValidationFailed,
)
from usage_billing.plans import store as quota_store
from usage_billing.platform.deadline import NEVER, Deadline
from usage_billing.platform.failures import as_billing_error
from usage_billing.platform.log_events import LogEvent
from usage_billing.platform.observability import (
    EVENT_ID_CONFLICTS,
    EVENTS_RECORDED,
    EVENTS_REPLAYED,
    LEDGER_RETRIES,
    QUOTA_MISSING,
    count,
    logger,
)
from usage_billing.platform.retries import MAX_ATTEMPTS, linger, pause
from usage_billing.subscriptions import store as subscription_store
from usage_billing.subscriptions.model import Subscription
from usage_billing.usage import hot_ledgers, store
from usage_billing.usage.events import CLOCK_SKEW, MAX_AGE, UsageEvent, timely
from usage_billing.usage.ledger import Entry, Head, LedgerKey
from usage_billing.usage.outcomes import Outcome, PendingEvent, Recorded
from usage_billing.usage.store import MAX_ENTRIES, EventsExist, HeadMoved
from usage_billing.usage.usage_types import require_room

THREADS = 8
"""How many ledgers of one batch are written at the same time."""

SUBSCRIPTIONS = 100
"""How many subscriptions of a batch are looked up before their events are written: what is read late in a long batch
is not old, and a batch that is cut short has written something."""

FEW_ATTEMPTS = 2
"""After how many lost races, one after the other, an impatient caller leaves a ledger to the queue."""

MANY_ENTRIES = 10
"""So many entries in one transaction cost more when they lose a race than looking at the head a few times first. Who
records single events usually moves it by fewer between two looks, and is no reason to wait."""

LOOKS = 20
"""How often a patient caller looks at a head that others keep moving by many before it tries all the same."""


def record_all(
    events: Sequence[UsageEvent],
    find: Callable[[str], Subscription],
    now: datetime,
    *,
    admit: Callable[[UsageEvent, Subscription], None] = lambda *_: None,
    patient: bool = True,
    deadline: Deadline = NEVER,
) -> list[Outcome]:
    """Record many events, each on its own, several ledgers at a time; what became of each, in the order given.

    `find` gives the subscription of an id, or raises a BillingError that then holds for its events. `admit` raises
    ValidationFailed for an event that may not be recorded, unless it is already. An id that comes
    twice counts once: the later event is a replay of the first, or conflicts with it. Once the deadline has passed
    nothing more is begun, and what was not is LedgerBusy. Without patience a ledger is that after few lost races, and
    at once if some were lost in the last seconds.
    """
    batch = [PendingEvent(event) for event in events]
    recorder = _Recorder(find, admit, now, patient, deadline)
    with ThreadPoolExecutor(THREADS) as pool:
        each = pool.map if len(batch) > 1 else map  # a single event needs no thread
        subscriptions = _by_subscription(batch)
        for start in range(0, len(subscriptions), SUBSCRIPTIONS):
            groups = list(each(recorder.group, subscriptions[start : start + SUBSCRIPTIONS]))
            list(each(recorder.append, [ledger for group in groups for ledger in group.ledgers]))
            list(each(recorder.refuse, [late for group in groups for late in group.late]))
            for group in groups:
                for pending, first in group.duplicates:
                    recorder.resolve_duplicate(pending, first)
    return [pending.outcome for pending in batch]


def _by_subscription(batch: Iterable[PendingEvent]) -> list[list[PendingEvent]]:
    """The events of a batch, grouped by subscription."""
    groups: dict[str, list[PendingEvent]] = {}
    for pending in batch:
        groups.setdefault(pending.event.subscription_id, []).append(pending)
    return list(groups.values())


@dataclass(frozen=True, slots=True)
class _LedgerEvents:
    """The events of a batch that go to one ledger. `unopened` is its head before the first entry."""

    unopened: Head
    events: list[PendingEvent]


@dataclass(frozen=True, slots=True)
class _Groups:
    """The events of one subscription that are not resolved yet, by what is to be done with them."""

    ledgers: list[_LedgerEvents] = field(default_factory=list)
    late: list[tuple[PendingEvent, BillingError]] = field(default_factory=list)
    """Events that are refused with this error, unless they were recorded before."""
    duplicates: list[tuple[PendingEvent, PendingEvent]] = field(default_factory=list)
    """Events with the id of an earlier event of the batch, the second one, that goes to another ledger."""


@dataclass(frozen=True, slots=True)
class _Recorder:
    find: Callable[[str], Subscription]
    admit: Callable[[UsageEvent, Subscription], None]
    now: datetime
    patient: bool
    deadline: Deadline
    entries: dict[tuple[str, str], tuple[Entry, Head | None]] = field(default_factory=dict)
    """The entries of event ids of subscriptions that this batch has seen: copies need not be read again."""

    def group(self, batch: Sequence[PendingEvent]) -> _Groups:
        """Group the events of one subscription. Resolve those that are refused, whether they were recorded or not."""
        groups = _Groups()
        subscription_id = batch[0].event.subscription_id
        try:
            self._require_time()
            subscription = self.find(subscription_id)
            if not subscription.is_active:  # perhaps it is by now
                subscription = subscription_store.subscription(subscription_id)
        except Exception as error:
            _resolve(batch, failed(error))
            return groups
        ledgers: dict[LedgerKey, _LedgerEvents] = {}
        firsts: dict[str, tuple[PendingEvent, LedgerKey]] = {}
        for pending in batch:
            event = pending.event
            try:
                _require_admitted(event, subscription, self.now)
                self.admit(event, subscription)
                unopened = _unopened(event, subscription, self.now)
            except (SubscriptionInactive, ValidationFailed) as error:
                groups.late.append((pending, error))
                continue
            except Exception as error:
                pending.resolve(failed(error))
                continue
            first, key = firsts.setdefault(event.event_id, (pending, unopened.key))
            if key == unopened.key:
                ledgers.setdefault(key, _LedgerEvents(unopened, [])).events.append(pending)
            else:
                groups.duplicates.append((pending, first))
        groups.ledgers.extend(ledgers.values())
        return groups

    def append(self, ledger: _LedgerEvents) -> None:
        """Append the events of one ledger, and resolve all of them."""
        failure: BillingError
        try:
            self._append(ledger)
        except TooManyUsageTypes as error:
            for pending in ledger.events:
                if not pending.is_resolved:
                    self.refuse((pending, error))
            return
        except Exception as error:
            failure = failed(error)
        else:
            usage_type = ledger.unopened.key.usage_type
            failure = LedgerBusy(f"Too many concurrent writes for usage type {usage_type} of this subscription.")
        _resolve([pending for pending in ledger.events if not pending.is_resolved], failure)

    def refuse(self, late: tuple[PendingEvent, BillingError]) -> None:
        """Refuse an event, unless it was recorded before: then it gets the answer that it got then."""
        pending, refusal = late
        event = pending.event
        outcome: Outcome
        try:
            known = self.entries.get((event.subscription_id, event.event_id))
            if known is None:
                self._require_time()
                stored = store.entry(event.subscription_id, event.event_id)
                known = (stored, None) if stored else None
            outcome = self._replay(event, *known) if known else refusal
        except Exception as error:
            outcome = failed(error)
        pending.resolve(outcome)

    def resolve_duplicate(self, pending: PendingEvent, first: PendingEvent) -> None:
        """Resolve an event whose id an earlier event of the batch has, which went to another ledger."""
        event = pending.event
        known = self.entries.get((event.subscription_id, event.event_id))
        outcome: Outcome
        try:
            outcome = self._replay(event, *known) if known else first.outcome
        except Exception as error:
            outcome = failed(error)
        pending.resolve(outcome)

    def _require_time(self) -> None:
        if self.deadline.has_passed:
            raise LedgerBusy("Ran out of time before recording.")

    def _append(self, ledger: _LedgerEvents) -> None:
        """Append the events of one ledger. Resolve each as soon as its outcome is certain."""
        key = ledger.unopened.key
        if not self.patient and hot_ledgers.is_hot(key):
            return
        todo = _by_event_id(ledger.events)
        most = MAX_ATTEMPTS if self.patient else FEW_ATTEMPTS
        head, lost = None, 0
        while todo and lost < most and not self.deadline.has_passed:
            if head is None:
                head = self._calm_head(ledger.unopened, lost, len(todo))
                if head is None:
                    return
            firsts = [same_id[0].event for same_id in islice(todo.values(), MAX_ENTRIES)]
            entries, after = _prepared(head).append_all(firsts, self.now)
            try:
                store.append(head, entries, after)
            except EventsExist as exist:
                for stored in exist.stored:
                    self._resolve_replays(todo.pop(stored.event_id), stored, head)
            except HeadMoved:
                count(LEDGER_RETRIES)
                logger.debug(LogEvent.LEDGER_MOVED, ledger=key.ledger_id)
                hot_ledgers.race_lost(key)
                head, lost = None, lost + 1
            else:
                count(EVENTS_RECORDED, len(entries))
                for entry in entries:
                    self.entries[key.subscription_id, entry.event_id] = entry, after
                    first, *copies = todo.pop(entry.event_id)
                    first.resolve(Recorded(entry, after, replayed=False))
                    self._resolve_replays(copies, entry, after)
                # Who gets something done goes on: a long share would else be given up for races lost all along it.
                head, lost = after, 0

    def _calm_head(self, opened: Head, lost: int, at_stake: int) -> Head | None:
        """A ledger's head, after a pause where races were lost: what a lost race itself says of it is old by then.

        A try costs as much as its entries, a look at the head one unit. So with many entries at stake, where a race
        was lost lately, it is looked at until nobody else moves it by many. None if somebody does and the caller is
        impatient, or if time is up.
        """
        key = opened.key
        pause(lost)
        head = store.head(key) or opened
        if at_stake < MANY_ENTRIES or not hot_ledgers.is_suspect(key):
            return head
        for _ in range(LOOKS if self.patient else 1):
            linger()
            if self.deadline.has_passed:
                return None
            seen, head = head, store.head(key) or opened
            if head.last_sequence - seen.last_sequence < MANY_ENTRIES:
                return head
        return head if self.patient else None

    def _resolve_replays(self, events: Iterable[PendingEvent], stored: Entry, head: Head) -> None:
        for pending in events:
            pending.resolve(self._replay(pending.event, stored, head))

    def _replay(self, event: UsageEvent, stored: Entry, head: Head | None) -> Outcome:
        """What an event is answered whose id names `stored`. `head` is one that was read, perhaps another ledger's."""
        name = event.subscription_id, event.event_id
        if differences := stored.differences(event):
            self.entries.setdefault(name, (stored, None))
            if not event.reported_by_customer:  # the alarm means that a service reuses ids
                count(EVENT_ID_CONFLICTS)
            return EventIdConflict(event.event_id, differences)
        if head is None or head.key != stored.key or head.last_sequence < stored.sequence:
            head = store.head(stored.key)
        assert head is not None, "an entry is written together with its head"
        self.entries[name] = stored, head
        count(EVENTS_REPLAYED)
        return Recorded(stored, head, replayed=True)


def _resolve(events: Iterable[PendingEvent], outcome: Outcome) -> None:
    for pending in events:
        pending.resolve(outcome)


def _by_event_id(events: Iterable[PendingEvent]) -> dict[str, list[PendingEvent]]:
    groups: dict[str, list[PendingEvent]] = {}
    for pending in events:
        groups.setdefault(pending.event.event_id, []).append(pending)
    return groups


def failed(error: Exception) -> BillingError:
    """Return a refusal as it is; count and log a failure with its cause, because only its name goes on."""
    failure = as_billing_error(error)
    if isinstance(failure, InternalError) and failure is not error:
        logger.error(LogEvent.INTERNAL_ERROR, exc_info=error)
    elif failure is not error:
        logger.error(LogEvent.EVENTS_NOT_RECORDED, code=failure.code, cause=repr(error))
    return failure


def _require_admitted(event: UsageEvent, subscription: Subscription, now: datetime) -> None:
    if event.user_id != subscription.user_id:
        raise SubscriptionNotOwned(
            f"The subscription {event.subscription_id} does not belong to the user {event.user_id}."
        )
    if not subscription.is_active:
        raise SubscriptionInactive(f"The subscription {event.subscription_id} is {subscription.status}.")
    require_timely(event, now)


def _unopened(event: UsageEvent, subscription: Subscription, now: datetime) -> Head:
    """The head, before it is opened, of the ledger that the event goes to."""
    period = subscription.cycle.period_of(event.when(now))
    key = LedgerKey.of(event.subscription_id, period, event.usage_type)
    return Head(key=key, user_id=subscription.user_id, period=period)


def _prepared(head: Head) -> Head:
    """The head that entries are appended to: with terms, if there is a quota.

    Raises:
        TooManyUsageTypes: the ledger is not open, and may not be.
    """
    if head.last_sequence == 0:
        require_room(head.key)
    return head if head.terms else _rate(head)


def _rate(head: Head) -> Head:
    """The head with the terms that its quota gives it now, or as it is where the quota is missing.

    Terms hold for a whole period, so the plan is read afresh for them.
    """
    plan_id = subscription_store.subscription(head.key.subscription_id).plan_id
    terms = quota_store.terms(plan_id, head.key.usage_type)
    if terms:
        return head.rated(terms)
    count(QUOTA_MISSING)
    logger.warning(LogEvent.QUOTA_MISSING, ledger=head.key.ledger_id, plan_id=plan_id, usage_type=head.key.usage_type)
    return head


def require_timely(event: UsageEvent, now: datetime) -> None:
    """Raises ValidationFailed for an event that occurred too long before we took it, or, it is said, after that."""
    if not timely(event.when(now), event.accepted(now)):
        message = f"must lie within the last {MAX_AGE.days} days"
        if not event.occurred_at:
            raise ValidationFailed(FieldError("reportedAt", "out_of_range", message))
        message += f" and at most {CLOCK_SKEW.seconds // 60} minutes ahead of our clock"
        raise ValidationFailed(FieldError("occurredAt", "out_of_range", message))
