"""Recording a usage event: append it to its ledger, once, whatever is retried, repeated or raced."""

from dataclasses import dataclass
from datetime import datetime

from usage_billing import catalog, store
from usage_billing.errors import (
    EventIdConflict,
    FieldError,
    LedgerBusy,
    SubscriptionInactive,
    SubscriptionNotOwned,
    ValidationFailed,
)
from usage_billing.ledger import CLOCK_SKEW, OLDEST_EVENT, Entry, Head, LedgerKey, QuotaState, UsageEvent, timely
from usage_billing.observability import (
    EVENT_ID_CONFLICTS,
    EVENTS_RECORDED,
    EVENTS_REPLAYED,
    LEDGER_RETRIES,
    QUOTA_MISSING,
    count,
    logger,
)
from usage_billing.pricing import Terms
from usage_billing.retries import tries
from usage_billing.store import EventsExist, HeadMoved
from usage_billing.subscriptions import Subscription


@dataclass(frozen=True, slots=True)
class Recorded:
    """An entry and its ledger's head. The head may be ahead of the entry, when the event was recorded before."""

    entry: Entry
    head: Head
    replayed: bool

    @property
    def quota(self) -> QuotaState:
        """The quota as it stood right after the entry, so that a replay answers what the first answer said."""
        return QuotaState.of(self.entry.cumulative, self.head.terms)


def record(event: UsageEvent, subscription: Subscription, now: datetime) -> Recorded:
    """Append `event` to the ledger of its subscription, usage type and period, or find it there.

    `subscription` is the event's, as it was at most a minute ago.

    Raises:
        SubscriptionNotOwned: the subscription is not the event's user's.
        SubscriptionInactive, ValidationFailed: not now, or not at that time; unless it was recorded before.
        EventIdConflict: the event id names another event.
        LedgerBusy: others were faster all the time; nothing was written.
    """
    if event.user_id != subscription.user_id:
        raise SubscriptionNotOwned(f"The subscription {event.subscription_id} is not the user {event.user_id}'s.")
    if not subscription.is_active:
        subscription = catalog.subscription(event.subscription_id)
    if not subscription.is_active:
        return _found(event) or _refuse(
            SubscriptionInactive(f"The subscription {event.subscription_id} is {subscription.status}.")
        )
    occurred_at = event.occurred_at or now
    if not timely(occurred_at, now):
        return _found(event) or _refuse(_untimely())
    return _append(event, subscription, occurred_at, now)


def _append(event: UsageEvent, subscription: Subscription, occurred_at: datetime, now: datetime) -> Recorded:
    period = subscription.cycle.period_of(occurred_at)
    key = LedgerKey.of(event.subscription_id, period, event.usage_type)
    opened = Head(key=key, user_id=subscription.user_id, period=period)
    head = store.head(key)
    for number in tries():
        seen = head or opened
        current = seen if seen.terms else _rate(seen, subscription)
        entry, after = current.append(event, now)
        try:
            store.append(seen, [entry], after)
        except EventsExist as exist:
            return _replayed(event, exist.stored[0], current)
        except HeadMoved as moved:
            count(LEDGER_RETRIES)
            head = moved.head or store.head(key)
            logger.debug("ledger moved", ledger=key.ledger_id, tries=number)
        else:
            count(EVENTS_RECORDED)
            return Recorded(entry, after, replayed=False)
    raise LedgerBusy(f"Too many others record {event.usage_type} for this subscription right now.")


def _rate(head: Head, subscription: Subscription) -> Head:
    """The head with the terms that its quota gives it now, or as it is where the quota is missing."""
    terms: Terms | None = catalog.terms(subscription.plan_id, head.key.usage_type)
    if terms:
        return head.rated(terms)
    count(QUOTA_MISSING)
    logger.warning(
        "quota missing", ledger=head.key.ledger_id, plan_id=subscription.plan_id, usage_type=head.key.usage_type
    )
    return head


def _found(event: UsageEvent) -> Recorded | None:
    """What a refused event was answered when it was recorded, if it was."""
    stored = store.entry(event.subscription_id, event.event_id)
    return _replayed(event, stored, None) if stored else None


def _replayed(event: UsageEvent, stored: Entry, head: Head | None) -> Recorded:
    if not stored.records(event):
        count(EVENT_ID_CONFLICTS)
        raise EventIdConflict(f"The event id {event.event_id} names another event of this subscription.")
    if head is None or head.key != stored.key:
        head = store.head(stored.key)
    assert head is not None, "an entry is written together with its head"
    count(EVENTS_REPLAYED)
    return Recorded(stored, head, replayed=True)


def _untimely() -> ValidationFailed:
    message = (
        f"must lie within the last {OLDEST_EVENT.days} days and at most "
        f"{CLOCK_SKEW.seconds // 60} minutes ahead of our clock"
    )
    return ValidationFailed(FieldError("occurredAt", "out_of_range", message))


def _refuse(error: Exception) -> Recorded:
    raise error
