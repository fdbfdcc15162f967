"""Recording usage events: append each to its ledger, once, whatever is retried, repeated or raced.

Events go ledger by ledger, up to 99 in one transaction with the head; one event is a ledger with one event.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
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
from usage_billing.usage.ledger import Entry, Head, LedgerKey, QuotaState
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
    batch = _Batch(events, find, admit, now, patient, deadline)
    outcomes: dict[int, Outcome] = {}
    with ThreadPoolExecutor(THREADS) as pool:
        each = pool.map if len(events) > 1 else map  # a single event needs no thread
        groups = _by_subscription(events)
        for start in range(0, len(groups), SUBSCRIPTIONS):
            found = list(each(batch.sort, groups[start : start + SUBSCRIPTIONS]))
            outcomes |= _merged(sorted_.refused for sorted_ in found)
            outcomes |= _merged(each(batch.write, [share for sorted_ in found for share in sorted_.shares]))
            outcomes |= each(batch.look_up, [late for sorted_ in found for late in sorted_.late])
            outcomes |= {number: batch.copy(number, outcomes[first]) for s in found for number, first in s.copies}
    return [outcomes[number] for number in range(len(events))]


def _by_subscription(events: Sequence[UsageEvent]) -> list[list[int]]:
    """The numbers of the events, those of one subscription together."""
    groups: dict[str, list[int]] = {}
    for number, event in enumerate(events):
        groups.setdefault(event.subscription_id, []).append(number)
    return list(groups.values())


def _merged(parts: Iterable[dict[int, Outcome]]) -> dict[int, Outcome]:
    return {number: outcome for part in parts for number, outcome in part.items()}


@dataclass(frozen=True, slots=True)
class _Share:
    """The events of a batch, by their numbers in it, that go to one ledger."""

    opened: Head
    numbers: list[int]


@dataclass(frozen=True, slots=True)
class _Sorted:
    """The events of one subscription, by their numbers in the batch."""

    refused: dict[int, Outcome] = field(default_factory=dict)
    shares: list[_Share] = field(default_factory=list)
    late: list[tuple[int, BillingError]] = field(default_factory=list)
    """What is refused with this error, unless it was recorded before."""
    copies: list[tuple[int, int]] = field(default_factory=list)
    """What has the id of an event, the second number, that goes to another ledger."""


@dataclass(frozen=True, slots=True)
class _Batch:
    events: Sequence[UsageEvent]
    find: Callable[[str], Subscription]
    admit: Callable[[UsageEvent, Subscription], None]
    now: datetime
    patient: bool
    deadline: Deadline
    entries: dict[tuple[str, str], tuple[Entry, Head | None]] = field(default_factory=dict)
    """What event ids of subscriptions name, as far as this batch has seen it: copies need not ask again."""

    def sort(self, numbers: Sequence[int]) -> _Sorted:
        """Where the events of one subscription go."""
        subscription_id = self.events[numbers[0]].subscription_id
        try:
            self._require_time()
            subscription = self.find(subscription_id)
            if not subscription.is_active:  # perhaps it is by now
                subscription = subscription_store.subscription(subscription_id)
        except Exception as error:
            return _Sorted(dict.fromkeys(numbers, failed(error)))
        found = _Sorted()
        shares: dict[LedgerKey, _Share] = {}
        firsts: dict[str, tuple[int, LedgerKey]] = {}
        for number in numbers:
            event = self.events[number]
            try:
                _require_admitted(event, subscription, self.now)
                self.admit(event, subscription)
                opened = _unopened(event, subscription, self.now)
            except (SubscriptionInactive, ValidationFailed) as error:
                found.late.append((number, error))
                continue
            except Exception as error:
                found.refused[number] = failed(error)
                continue
            first, key = firsts.setdefault(event.event_id, (number, opened.key))
            if key == opened.key:
                shares.setdefault(key, _Share(opened, [])).numbers.append(number)
            else:
                found.copies.append((number, first))
        found.shares.extend(shares.values())
        return found

    def write(self, share: _Share) -> dict[int, Outcome]:
        """What became of the events of one ledger."""
        outcomes: dict[int, Outcome] = {}
        failure: BillingError
        try:
            outcomes.update(self._append(share))
        except TooManyUsageTypes as error:
            late = [number for number in share.numbers if number not in outcomes]
            return outcomes | dict(self.look_up((number, error)) for number in late)
        except Exception as error:
            failure = failed(error)
        else:
            usage_type = share.opened.key.usage_type
            failure = LedgerBusy(f"Too many concurrent writes for usage type {usage_type} of this subscription.")
        return dict.fromkeys(share.numbers, failure) | outcomes

    def look_up(self, late: tuple[int, BillingError]) -> tuple[int, Outcome]:
        """What an event that is refused now was answered when it was recorded, if it was."""
        number, refusal = late
        event = self.events[number]
        try:
            known = self.entries.get((event.subscription_id, event.event_id))
            if known is None:
                self._require_time()
                stored = store.entry(event.subscription_id, event.event_id)
                known = (stored, None) if stored else None
            return number, self._replay(event, *known) if known else refusal
        except Exception as error:
            return number, failed(error)

    def copy(self, number: int, first: Outcome) -> Outcome:
        """What becomes of an event whose id another one of the batch has, which goes to another ledger."""
        event = self.events[number]
        known = self.entries.get((event.subscription_id, event.event_id))
        try:
            return self._replay(event, *known) if known else first
        except Exception as error:
            return failed(error)

    def _require_time(self) -> None:
        if self.deadline.has_passed:
            raise LedgerBusy("Ran out of time before recording.")

    def _append(self, share: _Share) -> Iterator[tuple[int, Outcome]]:
        """Append the events of one ledger; what became of each as soon as it is certain, until the tries are spent."""
        key = share.opened.key
        if not self.patient and hot_ledgers.is_hot(key):
            return
        todo = self._by_event_id(share.numbers)
        most = MAX_ATTEMPTS if self.patient else FEW_ATTEMPTS
        head, lost = None, 0
        while todo and lost < most and not self.deadline.has_passed:
            if head is None:
                head = self._calm_head(share.opened, lost, len(todo))
                if head is None:
                    return
            firsts = [self.events[numbers[0]] for numbers in islice(todo.values(), MAX_ENTRIES)]
            entries, after = _prepared(head).append_all(firsts, self.now)
            try:
                store.append(head, entries, after)
            except EventsExist as exist:
                for stored in exist.stored:
                    yield from self._replays(todo.pop(stored.event_id), stored, head)
            except HeadMoved:
                count(LEDGER_RETRIES)
                logger.debug(LogEvent.LEDGER_CONFLICT, ledger=key.ledger_id)
                hot_ledgers.race_lost(key)
                head, lost = None, lost + 1
            else:
                count(EVENTS_RECORDED, len(entries))
                for entry in entries:
                    self.entries[key.subscription_id, entry.event_id] = entry, after
                    first, *copies = todo.pop(entry.event_id)
                    yield first, Recorded(entry, after, replayed=False)
                    yield from self._replays(copies, entry, after)
                # Who gets something done goes on: a long share would else be given up for races lost all along it.
                head, lost = after, 0

    def _by_event_id(self, numbers: Iterable[int]) -> dict[str, list[int]]:
        groups: dict[str, list[int]] = {}
        for number in numbers:
            groups.setdefault(self.events[number].event_id, []).append(number)
        return groups

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

    def _replays(self, numbers: Iterable[int], stored: Entry, head: Head) -> Iterator[tuple[int, Outcome]]:
        return ((number, self._replay(self.events[number], stored, head)) for number in numbers)

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
