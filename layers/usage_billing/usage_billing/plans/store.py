"""Load and save quotas. Each plan has one currency."""

from pynamodb.exceptions import DoesNotExist, TransactWriteError

from usage_billing.kernel.errors import DatabaseUnavailable, PlanCurrencyMismatch, QuotaNotFound
from usage_billing.plans.model import Quota
from usage_billing.platform.caches import register_cache
from usage_billing.platform.recent_reads import Recent
from usage_billing.platform.retries import attempts
from usage_billing.platform.tables import UsageQuotaTable
from usage_billing.platform.transactions import cancellation_reasons, old_item, write
from usage_billing.pricing.price_models import PRICE_MODELS
from usage_billing.pricing.terms import Terms

recent = register_cache(Recent[tuple[str, str | None, int], list[Quota]](100))
"""Cached pages of a plan's quotas."""


def quota(plan_id: str, usage_type: str) -> Quota:
    """Return a plan's quota for a usage type.

    Raises:
        QuotaNotFound: there is none.
    """
    try:
        return _quota(UsageQuotaTable.get(plan_id, usage_type, consistent_read=True))
    except DoesNotExist:
        raise QuotaNotFound(f"The plan {plan_id} has no quota for {usage_type}.") from None


def terms(plan_id: str, usage_type: str) -> Terms | None:
    """Return the terms that a ledger of this plan and usage type would get now, or None if there is no quota."""
    try:
        return quota(plan_id, usage_type).terms
    except QuotaNotFound:
        return None


def quotas(plan_id: str, after: str | None = None, limit: int | None = None) -> list[Quota]:
    """Return up to `limit` quotas of a plan, by usage type, after the usage type `after`."""
    behind = UsageQuotaTable.usage_type > max(after or "", UsageQuotaTable.PLAN)
    return [_quota(row) for row in UsageQuotaTable.query(plan_id, behind, consistent_read=True, limit=limit)]


def recent_quotas(plan_id: str, after: str | None, limit: int) -> list[Quota]:
    """Return the same as `quotas`, at most a minute old, from the cache of this process."""
    return recent.get((plan_id, after, limit), lambda: quotas(plan_id, after, limit))


def save_quota(new: Quota) -> None:
    """Create or replace a quota. Open ledgers keep their terms.

    The first quota of a plan fixes the plan's currency permanently. The currency is written in the same transaction as
    the quota, on condition that the plan has no other currency, so concurrent writers cannot mix currencies.

    Raises:
        PlanCurrencyMismatch: the plan is in another currency.
        DatabaseUnavailable: too many concurrent changes to the plan; the same quota can be saved again.
    """
    row = UsageQuotaTable
    quota = row(new.plan_id, new.usage_type).change(
        [
            row.monthly_limit.set(new.monthly_limit),
            row.price.set(PRICE_MODELS.dumps(new.price)),
            row.unit_name.set(new.unit_name),
            row.currency.set(new.currency),
        ]
    )
    in_its_currency = row.currency.does_not_exist() | (row.currency == new.currency)
    plan = row(new.plan_id, row.PLAN).change([row.currency.set(new.currency)], in_its_currency)
    for _ in attempts():
        try:
            write([], [quota, plan])
        except TransactWriteError as error:
            if stored := old_item(cancellation_reasons(error)[1]):
                currency = UsageQuotaTable.from_raw_data(stored).currency
                raise PlanCurrencyMismatch(
                    f"The plan {new.plan_id} has the currency {currency}, which cannot be changed."
                ) from None
        else:
            recent.clear()
            return
    raise DatabaseUnavailable("Too many concurrent changes to this plan; send the same request again.")


def _quota(row: UsageQuotaTable) -> Quota:
    return Quota(
        plan_id=row.plan_id,
        usage_type=row.usage_type,
        monthly_limit=row.monthly_limit,
        price=PRICE_MODELS.loads(row.price),
        unit_name=row.unit_name,
        currency=row.currency,
    )
