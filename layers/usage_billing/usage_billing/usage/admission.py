"""Conditions under which an event may be recorded: its subscription, its age, and enough time to record it."""

from datetime import datetime

from usage_billing.kernel.errors import (
    FieldError,
    LedgerBusy,
    SubscriptionInactive,
    SubscriptionNotOwned,
    ValidationFailed,
)
from usage_billing.platform.deadline import Deadline
from usage_billing.subscriptions.model import Subscription
from usage_billing.usage.event_age import CLOCK_SKEW, MAX_AGE, timely
from usage_billing.usage.events import UsageEvent


def require_time(deadline: Deadline) -> None:
    """Raise LedgerBusy if the deadline has passed."""
    if deadline.has_passed:
        raise LedgerBusy("Ran out of time before recording.")


def require_admitted(event: UsageEvent, subscription: Subscription, now: datetime) -> None:
    """Raise an error if the subscription does not take the event.

    Raises:
        SubscriptionNotOwned: it belongs to another user.
        SubscriptionInactive: it takes no new usage.
        ValidationFailed: the event is too old, or lies in the future.
    """
    if event.user_id != subscription.user_id:
        raise SubscriptionNotOwned(
            f"The subscription {event.subscription_id} does not belong to the user {event.user_id}."
        )
    if not subscription.is_active:
        raise SubscriptionInactive(f"The subscription {event.subscription_id} is {subscription.status}.")
    require_timely(event, now)


def require_timely(event: UsageEvent, now: datetime) -> None:
    """Raise ValidationFailed if the event occurred too long before it was accepted, or well after that."""
    if not timely(event.when(now), event.accepted(now)):
        message = f"must lie within the last {MAX_AGE.days} days"
        if not event.occurred_at:
            raise ValidationFailed(FieldError("reportedAt", "out_of_range", message))
        message += f" and at most {CLOCK_SKEW.seconds // 60} minutes ahead of our clock"
        raise ValidationFailed(FieldError("occurredAt", "out_of_range", message))
