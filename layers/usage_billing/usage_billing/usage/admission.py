"""Conditions under which an event may be recorded: its subscription, its age, and enough time to record it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from usage_billing.kernel.errors import (
    BillingError,
    FieldError,
    LedgerBusy,
    SubscriptionInactive,
    SubscriptionNotOwned,
    ValidationFailed,
)
from usage_billing.platform.deadline import Deadline
from usage_billing.platform.failures import as_logged_error
from usage_billing.platform.log_events import LogEvent
from usage_billing.subscriptions.model import Subscription
from usage_billing.subscriptions.store import not_found
from usage_billing.usage.event_age import CLOCK_SKEW, MAX_AGE, timely
from usage_billing.usage.events import UsageEvent
from usage_billing.usage.ledger import Head, LedgerKey
from usage_billing.usage.outcomes import Copies, PendingEvent
from usage_billing.usage.store import LedgerState


def require_time(deadline: Deadline) -> None:
    """Raise LedgerBusy if the deadline has passed."""
    if deadline.has_passed:
        raise LedgerBusy("Ran out of time before recording.")


def require_timely(event: UsageEvent, now: datetime) -> None:
    """Raise ValidationFailed if the event occurred too long before it was accepted, or well after that."""
    if not timely(event.when(now), event.accepted(now)):
        message = f"must lie within the last {MAX_AGE.days} days"
        if not event.occurred_at:
            raise ValidationFailed(FieldError("reportedAt", "out_of_range", message))
        message += f" and at most {CLOCK_SKEW.seconds // 60} minutes ahead of our clock"
        raise ValidationFailed(FieldError("occurredAt", "out_of_range", message))


Load = Callable[[], Subscription]
"""Returns a subscription, or raises SubscriptionNotFound."""


def _anybody(load: Load) -> Subscription:
    return load()


def _anything(_event: UsageEvent, _subscription: Subscription) -> None:
    pass


@dataclass(slots=True)
class Sorted:
    """The events that wait for one ledger, sorted by what its subscription, as it was read, says about them."""

    subscription: Subscription
    head: Head | None = None
    """What admitted events are appended to: the ledger's head, or the empty head of a ledger to open."""
    admitted: list[Copies] = field(default_factory=list)
    moved: list[tuple[LedgerKey, Copies]] = field(default_factory=list)
    """Events that belong to another ledger of the subscription."""
    refused: list[tuple[PendingEvent, BillingError]] = field(default_factory=list)
    """Events that are refused with this error, unless they were recorded before."""


@dataclass(frozen=True, slots=True)
class Admission:
    """Decides by a subscription which events are recorded, and in which ledger.

    `allow` gets a function that returns the subscription or raises SubscriptionNotFound. It returns the subscription if
    the caller may use it. `check` raises ValidationFailed for an event that must not be recorded although the
    subscription takes it. Safe under threads, if these two are.
    """

    now: datetime
    allow: Callable[[Load], Subscription] = _anybody
    check: Callable[[UsageEvent, Subscription], None] = _anything

    def sort(self, state: LedgerState, waiting: Iterable[Copies]) -> Sorted:
        """Sort events by the subscription and the ledger that were read for them.

        Of several events with one id, the first that is not refused decides where they belong: the others will be
        compared with it. An event that is refused even if its id is recorded is resolved here.

        Raises:
            SubscriptionNotFound, Forbidden: the subscription does not exist, or the caller may not use it.
        """
        found = Sorted(self.allow(lambda: _existing(state)))
        for copies in waiting:
            kept: Copies = []
            empty: Head | None = None
            for pending in copies:
                try:
                    _require_owner(pending.event, found.subscription)
                    empty = empty or self._empty_head(pending.event, found.subscription)
                except (SubscriptionInactive, ValidationFailed) as error:
                    found.refused.append((pending, error))
                except Exception as error:
                    pending.resolve(as_logged_error(error, LogEvent.EVENTS_NOT_RECORDED))
                else:
                    kept.append(pending)
            if empty and empty.key == state.key:
                found.admitted.append(kept)
                found.head = state.head or empty
            elif empty:
                found.moved.append((empty.key, kept))
        return found

    def _empty_head(self, event: UsageEvent, subscription: Subscription) -> Head:
        """Return the head, before its first entry, of the ledger that the event goes to.

        Raises:
            SubscriptionInactive: the subscription takes no new usage.
            ValidationFailed: the event is too old, lies in the future, or does not pass `check`.
        """
        if not subscription.is_active:
            raise SubscriptionInactive(f"The subscription {event.subscription_id} is {subscription.status}.")
        require_timely(event, self.now)
        self.check(event, subscription)
        period = subscription.cycle.period_of(event.when(self.now))
        return Head(LedgerKey.of(event.subscription_id, period, event.usage_type), subscription.user_id, period)


def _existing(state: LedgerState) -> Subscription:
    if state.subscription is None:
        raise not_found(state.key.subscription_id)
    return state.subscription


def _require_owner(event: UsageEvent, subscription: Subscription) -> None:
    """Raise SubscriptionNotOwned if the event's user is not the subscription's.

    Such an event is never a replay: a subscription keeps its user, so all its entries are of that user.
    """
    if event.user_id != subscription.user_id:
        raise SubscriptionNotOwned(
            f"The subscription {event.subscription_id} does not belong to the user {event.user_id}."
        )
