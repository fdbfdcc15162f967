"""Terms of ledgers: the version of the plan's quota that is in force when the ledger's period starts."""

from usage_billing.kernel.periods import Period
from usage_billing.plans import store as quota_store
from usage_billing.plans.model import Quota, quota_at
from usage_billing.platform.log_events import LogEvent
from usage_billing.platform.observability import QUOTA_MISSING, count, logger
from usage_billing.pricing.terms import Terms
from usage_billing.subscriptions.model import Subscription
from usage_billing.usage.ledger import Head


def terms_for(subscription: Subscription, period: Period, usage_type: str) -> Terms | None:
    """Return the terms that a ledger of the period gets, read consistently, or None if the plan has no quota."""
    version = quota_store.version_for(subscription.plan_id, usage_type, period.start)
    return _terms(version) if version else None


def offered_terms(subscription: Subscription, period: Period, after: str | None, limit: int) -> dict[str, Terms]:
    """Return the terms that ledgers of the period would get, for up to `limit` usage types of the plan.

    The first one follows the usage type `after`. The quotas may be a minute old, so ledgers get terms from `terms_for`.
    """
    found = (
        quota_at(versions, period.start) for versions in quota_store.recent_versions(subscription.plan_id, after, limit)
    )
    return {each.version.usage_type: _terms(each.version) for each in found if each}


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


def _terms(version: Quota) -> Terms:
    return version.terms()
