"""Record usage events: each exactly once, however often it is sent and whoever else writes at the same time.

The events of a batch are grouped by ledger. A single event is a batch of one.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

from usage_billing.kernel.errors import BillingError, SubscriptionInactive, ValidationFailed
from usage_billing.platform.deadline import NEVER, Deadline
from usage_billing.platform.failures import as_logged_error
from usage_billing.platform.log_events import LogEvent
from usage_billing.subscriptions import store as subscription_store
from usage_billing.subscriptions.model import Subscription
from usage_billing.usage.admission import require_admitted, require_time
from usage_billing.usage.append_with_retries import Appender, LedgerEvents
from usage_billing.usage.events import UsageEvent
from usage_billing.usage.ledger import Head, LedgerKey
from usage_billing.usage.outcomes import Outcome, PendingEvent
from usage_billing.usage.replays import Replays

THREADS = 8
"""Ledgers of one batch that are written at the same time."""

SUBSCRIPTIONS_PER_ROUND = 100
"""Subscriptions that are read before their events are written. So those that are read late in a long batch are not out
of date, and a batch that is cut short has recorded some of its events."""


def record_all(
    events: Sequence[UsageEvent],
    find: Callable[[str], Subscription],
    now: datetime,
    *,
    check: Callable[[UsageEvent, Subscription], None] = lambda *_: None,
    patient: bool = True,
    deadline: Deadline = NEVER,
) -> list[Outcome]:
    """Record events, several ledgers at a time. Return the outcome of each, in the order given.

    `find` returns the subscription of an id, or raises the BillingError for all events of that id. `check` raises
    ValidationFailed for an event that must not be recorded; one that was recorded before is a replay all the same. Of
    two events with the same id the later one is a replay of the first, or conflicts with it.

    After the deadline no event is begun: the rest get LedgerBusy. A caller that is not `patient` gets LedgerBusy after
    few lost races, and at once for a ledger for which a race was lost in the last seconds.
    """
    batch = [PendingEvent(event) for event in events]
    grouping = _Grouping(find, check, now, deadline)
    replays = Replays(deadline)
    appender = Appender(now, patient, deadline, replays)
    with ThreadPoolExecutor(THREADS) as pool:
        each = pool.map if len(batch) > 1 else map  # a single event needs no thread
        subscriptions = _by_subscription(batch)
        for start in range(0, len(subscriptions), SUBSCRIPTIONS_PER_ROUND):
            groups = list(each(grouping.group, subscriptions[start : start + SUBSCRIPTIONS_PER_ROUND]))
            list(each(appender.append, [ledger for group in groups for ledger in group.ledgers]))
            list(each(replays.resolve_refused, [refused for group in groups for refused in group.refused]))
            for group in groups:
                for pending, first in group.duplicates:
                    replays.resolve_duplicate(pending, first)
    return [pending.outcome for pending in batch]


def _by_subscription(batch: Iterable[PendingEvent]) -> list[list[PendingEvent]]:
    groups: dict[str, list[PendingEvent]] = {}
    for pending in batch:
        groups.setdefault(pending.event.subscription_id, []).append(pending)
    return list(groups.values())


@dataclass(frozen=True, slots=True)
class _Groups:
    """The unresolved events of one subscription, grouped by what to do with them."""

    ledgers: list[LedgerEvents] = field(default_factory=list)
    refused: list[tuple[PendingEvent, BillingError]] = field(default_factory=list)
    """Events that are refused with this error, unless they were recorded before."""
    duplicates: list[tuple[PendingEvent, PendingEvent]] = field(default_factory=list)
    """Events that have the id of an earlier event, the second one, which goes to another ledger."""


@dataclass(frozen=True, slots=True)
class _Grouping:
    """Groups the events of a batch. Safe under threads, if `find` and `check` are."""

    find: Callable[[str], Subscription]
    check: Callable[[UsageEvent, Subscription], None]
    now: datetime
    deadline: Deadline

    def group(self, events: Sequence[PendingEvent]) -> _Groups:
        """Group the events of one subscription. Resolve those that are refused even if they were recorded before."""
        groups = _Groups()
        try:
            subscription = self._subscription(events[0].event.subscription_id)
        except Exception as error:
            failure = as_logged_error(error, LogEvent.EVENTS_NOT_RECORDED)
            for pending in events:
                pending.resolve(failure)
            return groups
        ledgers: dict[LedgerKey, LedgerEvents] = {}
        firsts: dict[str, tuple[PendingEvent, LedgerKey]] = {}
        for pending in events:
            event = pending.event
            try:
                require_admitted(event, subscription, self.now)
                self.check(event, subscription)
                empty = _empty_head(event, subscription, self.now)
            except (SubscriptionInactive, ValidationFailed) as error:
                groups.refused.append((pending, error))
                continue
            except Exception as error:
                pending.resolve(as_logged_error(error, LogEvent.EVENTS_NOT_RECORDED))
                continue
            first, key = firsts.setdefault(event.event_id, (pending, empty.key))
            if key == empty.key:
                ledgers.setdefault(key, LedgerEvents(empty, [])).events.append(pending)
            else:
                groups.duplicates.append((pending, first))
        groups.ledgers.extend(ledgers.values())
        return groups

    def _subscription(self, subscription_id: str) -> Subscription:
        require_time(self.deadline)
        subscription = self.find(subscription_id)
        if subscription.is_active:
            return subscription
        return subscription_store.subscription(subscription_id)  # `find` may remember that it was inactive


def _empty_head(event: UsageEvent, subscription: Subscription, now: datetime) -> Head:
    """Return the head, before its first entry, of the ledger that the event goes to."""
    period = subscription.cycle.period_of(event.when(now))
    key = LedgerKey.of(event.subscription_id, period, event.usage_type)
    return Head(key=key, user_id=subscription.user_id, period=period)
