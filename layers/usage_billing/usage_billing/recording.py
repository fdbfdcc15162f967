"""Recording usage events: append each to its ledger, once, whatever is retried, repeated or raced.

Events go ledger by ledger, up to 99 in one transaction with the head; one event is a ledger with one event.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import NoReturn

from usage_billing import catalog, contention, store
from usage_billing.errors import (
    BillingError,
    EventIdConflict,
    FieldError,
    InternalError,
    LedgerBusy,
    SubscriptionInactive,
    SubscriptionNotOwned,
    ValidationFailed,
)
from usage_billing.ledger import CLOCK_SKEW, OLDEST_EVENT, Entry, Head, LedgerKey, QuotaState, UsageEvent, timely
from usage_billing.observability import (
    DATABASE_FAILURES,
    EVENT_ID_CONFLICTS,
    EVENTS_RECORDED,
    EVENTS_REPLAYED,
    LEDGER_RETRIES,
    QUOTA_MISSING,
    count,
    logger,
)
from usage_billing.retries import TRIES, tries
from usage_billing.store import MOST_ENTRIES, EventsExist, HeadMoved
from usage_billing.subscriptions import Subscription

THREADS = 8
"""How many ledgers of one batch are written at the same time."""

FEW_TRIES = 2
"""After how many lost races an impatient caller leaves a ledger to the queue."""

ENTRIES_AT_STAKE = 25
"""For so many entries each, the pauses between tries grow by what they are for a single one."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """An entry and its ledger's head. The head may be ahead of the entry."""

    entry: Entry
    head: Head
    replayed: bool

    @property
    def quota(self) -> QuotaState:
        """The quota as it stood right after the entry, so that a replay answers what the first answer said."""
        return QuotaState.of(self.entry.cumulative, self.head.terms)


Outcome = Recorded | BillingError
"""What became of one event: it stands in its ledger, or why it does not."""


def record(event: UsageEvent, subscription: Subscription, now: datetime, *, patient: bool = True) -> Recorded:
    """Append `event` to the ledger of its subscription, usage type and period, or find it there.

    `subscription` is the event's, as it was at most a minute ago. For `patient` see `record_all`.

    Raises:
        SubscriptionNotOwned: the subscription is not the event's user's.
        SubscriptionInactive, ValidationFailed: not now, or not at that time; unless it was recorded before.
        EventIdConflict: the event id names another event.
        LedgerBusy: others were faster all the time; nothing was written.
        DatabaseUnavailable: a call failed; nobody knows whether it was recorded, and the event can be sent again.
    """
    [outcome] = record_all([event], lambda _: subscription, now, patient=patient)
    if isinstance(outcome, BillingError):
        raise outcome
    return outcome


def record_all(
    events: Sequence[UsageEvent], find: Callable[[str], Subscription], now: datetime, *, patient: bool = True
) -> list[Outcome]:
    """Record many events, each on its own, several ledgers at a time; what became of each, in the order given.

    `find` gives the subscription of an id, or raises a BillingError that then holds for its events. An id that comes
    twice counts once: the later event finds the first one in the ledger. Without patience a ledger is LedgerBusy after
    few lost races, and at once if some were lost in the last seconds.
    """
    batch = _Batch(events, find, now, patient)
    outcomes: dict[int, Outcome] = {}
    with ThreadPoolExecutor(THREADS) as pool:
        each = pool.map if len(events) > 1 else map  # a single event needs no thread
        for wave in _waves(events):
            shares: list[_Share] = []
            for refused, admitted in each(batch.sort, _by_subscription(events, wave)):
                outcomes |= refused
                shares += admitted
            for written in each(batch.write, shares):
                outcomes |= written
    return [outcomes[number] for number in range(len(events))]


@dataclass(frozen=True, slots=True)
class _Share:
    """The events of a batch, by their numbers in it, that go to one ledger."""

    opened: Head
    numbers: list[int]


@dataclass(frozen=True, slots=True)
class _Batch:
    events: Sequence[UsageEvent]
    find: Callable[[str], Subscription]
    now: datetime
    patient: bool

    def sort(self, numbers: Sequence[int]) -> tuple[dict[int, Outcome], list[_Share]]:
        """The events of one subscription: what became of those that cannot go on, and the others by ledger."""
        outcomes: dict[int, Outcome] = {}
        shares: dict[LedgerKey, _Share] = {}
        for number in numbers:
            try:
                event = self.events[number]
                admitted = _admit(event, self.find(event.subscription_id), self.now)
            except Exception as error:
                outcomes[number] = _in_billing_words(error)
                continue
            if isinstance(admitted, Recorded):
                outcomes[number] = admitted
            else:
                shares.setdefault(admitted.key, _Share(admitted, [])).numbers.append(number)
        return outcomes, list(shares.values())

    def write(self, share: _Share) -> dict[int, Outcome]:
        """What became of the events of one ledger."""
        events = [self.events[number] for number in share.numbers]
        outcomes: dict[str, Outcome] = {}
        try:
            outcomes.update(_append(share.opened, events, self.now, self.patient))
        except Exception as error:
            failure = _in_billing_words(error)
            for event in events:
                outcomes.setdefault(event.event_id, failure)
        return {number: outcomes[self.events[number].event_id] for number in share.numbers}


def _in_billing_words(error: Exception) -> BillingError:
    """A refusal as it is; a failure counted and logged with its cause, for only its name goes on."""
    if isinstance(error, BillingError):
        return error
    failure = store.unavailable(error)
    if failure is None:
        logger.exception("internal error")
        return InternalError()
    count(DATABASE_FAILURES)
    logger.error("events not recorded", code=failure.code, cause=repr(error))
    return failure


def _waves(events: Sequence[UsageEvent]) -> list[list[int]]:
    """The numbers of the events, so cut that no wave holds an event id of a subscription twice."""
    waves: list[list[int]] = []
    seen: Counter[tuple[str, str]] = Counter()
    for number, event in enumerate(events):
        name = (event.subscription_id, event.event_id)
        if seen[name] == len(waves):
            waves.append([])
        waves[seen[name]].append(number)
        seen[name] += 1
    return waves


def _by_subscription(events: Sequence[UsageEvent], numbers: Sequence[int]) -> list[list[int]]:
    groups: dict[str, list[int]] = {}
    for number in numbers:
        groups.setdefault(events[number].subscription_id, []).append(number)
    return list(groups.values())


def _admit(event: UsageEvent, subscription: Subscription, now: datetime) -> Head | Recorded:
    """The unopened head of the ledger that the event goes to; or, where it is too late for that, what it is already."""
    if event.user_id != subscription.user_id:
        raise SubscriptionNotOwned(f"The subscription {event.subscription_id} is not the user {event.user_id}'s.")
    if not subscription.is_active:
        subscription = catalog.subscription(event.subscription_id)
    if not subscription.is_active:
        return _found(event) or _refuse(
            SubscriptionInactive(f"The subscription {event.subscription_id} is {subscription.status}.")
        )
    try:
        require_timely(event, now)
    except ValidationFailed as untimely:
        return _found(event) or _refuse(untimely)
    period = subscription.cycle.period_of(event.when(now))
    key = LedgerKey.of(event.subscription_id, period, event.usage_type)
    return Head(key=key, user_id=subscription.user_id, period=period)


def _append(opened: Head, events: Sequence[UsageEvent], now: datetime, patient: bool) -> Iterator[tuple[str, Outcome]]:
    """Append events of one ledger, no id twice; what became of each, by its event id, as soon as it is certain."""
    todo = {event.event_id: event for event in events}
    if patient or not contention.is_hot(opened.key):
        for _ in tries(TRIES if patient else FEW_TRIES, min(len(todo), MOST_ENTRIES) / ENTRIES_AT_STAKE + 1):
            # Read again after a pause: what a lost race says of the head is old by then, and another lost race
            # costs as much as all its entries.
            head = store.head(opened.key) or opened
            try:
                while todo:
                    current = head if head.terms else _rate(head)
                    entries, after = current.append_all(islice(todo.values(), MOST_ENTRIES), now)
                    try:
                        store.append(head, entries, after)
                    except EventsExist as exist:
                        for stored in exist.stored:
                            yield stored.event_id, _replayed(todo.pop(stored.event_id), stored, head)
                    else:
                        head = after
                        count(EVENTS_RECORDED, len(entries))
                        for entry in entries:
                            del todo[entry.event_id]
                            yield entry.event_id, Recorded(entry, after, replayed=False)
                return
            except HeadMoved:
                count(LEDGER_RETRIES)
                logger.debug("ledger moved", ledger=opened.key.ledger_id)
                contention.notice(opened.key)
    busy = LedgerBusy(f"Too many others record {opened.key.usage_type} for this subscription right now.")
    yield from ((name, busy) for name in todo)


def _rate(head: Head) -> Head:
    """The head with the terms that its quota gives it now, or as it is where the quota is missing.

    Terms hold for a whole period, so the plan is read afresh for them.
    """
    plan_id = catalog.subscription(head.key.subscription_id).plan_id
    terms = catalog.terms(plan_id, head.key.usage_type)
    if terms:
        return head.rated(terms)
    count(QUOTA_MISSING)
    logger.warning("quota missing", ledger=head.key.ledger_id, plan_id=plan_id, usage_type=head.key.usage_type)
    return head


def _found(event: UsageEvent) -> Recorded | None:
    """What an event that is refused now was answered when it was recorded, if it was."""
    stored = store.entry(event.subscription_id, event.event_id)
    if stored is None:
        return None
    outcome = _replayed(event, stored, None)
    if isinstance(outcome, BillingError):
        raise outcome
    return outcome


def _replayed(event: UsageEvent, stored: Entry, head: Head | None) -> Outcome:
    if not stored.records(event):
        count(EVENT_ID_CONFLICTS)
        return EventIdConflict(f"The event id {event.event_id} names another event of this subscription.")
    if head is None or head.key != stored.key or head.last_sequence < stored.sequence:
        head = store.head(stored.key)
    assert head is not None, "an entry is written together with its head"
    count(EVENTS_REPLAYED)
    return Recorded(stored, head, replayed=True)


def require_timely(event: UsageEvent, now: datetime) -> None:
    """Raises ValidationFailed for an event that occurred too long before we took it, or after that."""
    if not timely(event.when(now), event.accepted(now)):
        message = (
            f"must lie within the last {OLDEST_EVENT.days} days and at most "
            f"{CLOCK_SKEW.seconds // 60} minutes ahead of our clock"
        )
        raise ValidationFailed(FieldError("occurredAt", "out_of_range", message))


def _refuse(error: BillingError) -> NoReturn:
    raise error
