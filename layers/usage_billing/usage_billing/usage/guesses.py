"""Guesses of the ledger that an event goes to, by its subscription as this process last saw it.

A guess lets the subscription be read together with the ledger. What was read then decides: if the guess was wrong, the
right ledger is read too. So it does no harm if what is remembered here is out of date.
"""

from datetime import datetime

from usage_billing.platform.caches import register_cache
from usage_billing.subscriptions.cycles import MonthlyCycle
from usage_billing.subscriptions.model import Subscription
from usage_billing.usage.event_age import timely
from usage_billing.usage.events import UsageEvent
from usage_billing.usage.ledger import LedgerKey

last_seen: dict[str, Subscription] = register_cache({})

MAX_REMEMBERED = 10_000


def remember(subscription: Subscription) -> None:
    """Remember a subscription as it was just read."""
    if len(last_seen) >= MAX_REMEMBERED and subscription.subscription_id not in last_seen:
        last_seen.clear()
    last_seen[subscription.subscription_id] = subscription


def ledger_of(event: UsageEvent, now: datetime) -> LedgerKey:
    """Return the ledger that an event probably goes to.

    Of a subscription that this process has not seen yet, the periods are probably calendar months.
    """
    seen = last_seen.get(event.subscription_id)
    cycle = seen.cycle if seen else MonthlyCycle()
    accepted, moment = event.accepted(now), event.when(now)
    if not timely(moment, accepted):
        moment = accepted  # the event will be refused, and there need not be a period of its year
    return LedgerKey.of(event.subscription_id, cycle.period_of(moment), event.usage_type)
