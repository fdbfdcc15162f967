"""Terms for a ledger that has none yet, when an event is recorded in it. Billing runs have a `rating` of their own."""

from usage_billing.plans import store as quota_store
from usage_billing.platform.log_events import LogEvent
from usage_billing.platform.observability import QUOTA_MISSING, count, logger
from usage_billing.subscriptions import store as subscription_store
from usage_billing.usage.ledger import Head


def rate(head: Head) -> Head:
    """Return the head with the terms of its quota, or unchanged if the plan has no quota for its usage type.

    Terms hold for a whole period, so the plan is read from the database, not from memory.
    """
    plan_id = subscription_store.subscription(head.key.subscription_id).plan_id
    terms = quota_store.terms(plan_id, head.key.usage_type)
    if terms:
        return head.rated(terms)
    count(QUOTA_MISSING)
    logger.warning(LogEvent.QUOTA_MISSING, ledger=head.key.ledger_id, plan_id=plan_id, usage_type=head.key.usage_type)
    return head
