"""Save quotas, and look up the terms that ledgers would get, without HTTP."""

from datetime import datetime

from tests.builders import PERIOD
from usage_billing.plans import store as quota_store
from usage_billing.plans.model import Quota, QuotaAt
from usage_billing.platform import clock
from usage_billing.pricing.terms import Terms


def save_quota(version: Quota) -> QuotaAt:
    """Save a version of a quota, in place of one from the same instant."""
    return quota_store.save_version(lambda _: version, clock.now)


def terms_of(plan_id: str, usage_type: str, period_start: datetime = PERIOD.start) -> Terms | None:
    """The terms of a ledger whose period starts then; None if the plan has no quota."""
    version = quota_store.version_for(plan_id, usage_type, period_start)
    return version.terms() if version else None
