"""Records one event as tests do that look at the ledger and not at how an event gets there."""

from datetime import datetime

from usage_billing.kernel.errors import BillingError
from usage_billing.subscriptions.model import Subscription
from usage_billing.usage.events import UsageEvent
from usage_billing.usage.recording import Recorded, record_all


def record(event: UsageEvent, subscription: Subscription, now: datetime) -> Recorded:
    """What the event was answered; raises the BillingError that it was refused with."""
    [outcome] = record_all([event], lambda _: subscription, now)
    if isinstance(outcome, BillingError):
        raise outcome
    return outcome
