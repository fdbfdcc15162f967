"""Terms for a ledger that has none yet, when an event is recorded in it. Billing runs have a `rating` of their own."""

from usage_billing.kernel.periods import Period
from usage_billing.plans import store as quota_store
from usage_billing.platform.log_events import LogEvent
from usage_billing.platform.observability import QUOTA_MISSING, count, logger
from usage_billing.pricing.terms import Terms
from usage_billing.subscriptions.model import Subscription
from usage_billing.usage.ledger import Head


def terms_for(subscription: Subscription, period: Period, usage_type: str) -> Terms | None:
    """Return the terms of a subscription's ledger, or None if its plan has no quota for the usage type."""
    return quota_store.terms(subscription.plan_id, usage_type)


def rate(head: Head, subscription: Subscription) -> Head:
    """Return the head with the terms of its quota, or unchanged if the plan has no quota for its usage type.

    Terms hold for a whole period, so the subscription must have been read from the database, not from memory.
    """
    usage_type = head.key.usage_type
    terms = terms_for(subscription, head.period, usage_type)
    if terms:
        return head.rated(terms)
    count(QUOTA_MISSING)
    logger.warning(
        LogEvent.QUOTA_MISSING, ledger=head.key.ledger_id, plan_id=subscription.plan_id, usage_type=usage_type
    )
    return head
