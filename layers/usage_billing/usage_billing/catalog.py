"""Load and save what billing goes by: subscriptions and quotas."""

import time

from pynamodb.exceptions import DoesNotExist, PutError

from usage_billing.errors import PlanCurrencyMismatch, QuotaNotFound, SubscriptionNotFound, SubscriptionUserFixed
from usage_billing.pricing import Quota, Terms
from usage_billing.subscriptions import Subscription, SubscriptionStatus
from usage_billing.tables import SubscriptionTable, SubscriptionUserIndex, UsageQuotaTable

SUBSCRIPTION_CACHE_SECONDS = 60.0
SUBSCRIPTION_CACHE_SIZE = 10_000


def subscription(subscription_id: str) -> Subscription:
    """The subscription as it is now.

    Raises:
        SubscriptionNotFound: there is none.
    """
    try:
        return _subscription(SubscriptionTable.get(subscription_id, consistent_read=True))
    except DoesNotExist:
        raise SubscriptionNotFound(f"There is no subscription {subscription_id}.") from None


_subscriptions: dict[str, tuple[float, Subscription]] = {}


def recent_subscription(subscription_id: str) -> Subscription:
    """The subscription as it was at most a minute ago, remembered by this process.

    Raises:
        SubscriptionNotFound: there is none; that is not remembered.
    """
    now = time.monotonic()
    read_at, found = _subscriptions.get(subscription_id, (0.0, None))
    if found is None or now - read_at >= SUBSCRIPTION_CACHE_SECONDS:
        found = subscription(subscription_id)
        if len(_subscriptions) >= SUBSCRIPTION_CACHE_SIZE:
            _subscriptions.clear()
        _subscriptions[subscription_id] = (now, found)
    return found


def forget_subscriptions() -> None:
    """Empty what `recent_subscription` remembers."""
    _subscriptions.clear()


def subscriptions_of(user_id: str, after: str | None, limit: int) -> list[Subscription]:
    """Up to `limit` subscriptions of a user, by id, beginning behind the id `after`."""
    behind = SubscriptionUserIndex.subscription_id > after if after else None
    rows = SubscriptionTable.user_index.query(user_id, behind, limit=limit)
    return [_subscription(row) for row in rows]


def save_subscription(new: Subscription) -> None:
    """Create or replace a subscription.

    Raises:
        SubscriptionUserFixed: it exists and belongs to another user.
    """
    row = SubscriptionTable(
        new.subscription_id,
        user_id=new.user_id,
        plan_id=new.plan_id,
        status=new.status.value,
        billing_anchor_day=new.billing_anchor_day,
    )
    absent_or_theirs = SubscriptionTable.subscription_id.does_not_exist() | (SubscriptionTable.user_id == new.user_id)
    try:
        row.save(condition=absent_or_theirs)
    except PutError as error:
        if error.cause_response_code != "ConditionalCheckFailedException":
            raise
        raise SubscriptionUserFixed(
            "A subscription keeps its user; cancel it and create one for the other user."
        ) from None
    _subscriptions.pop(new.subscription_id, None)


def _subscription(row: SubscriptionTable) -> Subscription:
    return Subscription(
        subscription_id=row.subscription_id,
        user_id=row.user_id,
        plan_id=row.plan_id,
        status=SubscriptionStatus(row.status),
        billing_anchor_day=int(row.billing_anchor_day),
    )


def quota(plan_id: str, usage_type: str) -> Quota:
    """A plan's quota for a usage type.

    Raises:
        QuotaNotFound: there is none.
    """
    try:
        return _quota(UsageQuotaTable.get(plan_id, usage_type, consistent_read=True))
    except DoesNotExist:
        raise QuotaNotFound(f"The plan {plan_id} has no quota for {usage_type}.") from None


def terms(plan_id: str, usage_type: str) -> Terms | None:
    """The terms a ledger of this plan and usage type would get now, None where the quota is missing."""
    try:
        return quota(plan_id, usage_type).terms
    except QuotaNotFound:
        return None


def quotas(plan_id: str, after: str | None = None, limit: int | None = None) -> list[Quota]:
    """The quotas of a plan by usage type: up to `limit` of them, beginning behind the usage type `after`."""
    behind = UsageQuotaTable.usage_type > after if after else None
    return [_quota(row) for row in UsageQuotaTable.query(plan_id, behind, consistent_read=True, limit=limit)]


def save_quota(new: Quota) -> None:
    """Create or replace a quota. Ledgers that are open keep the terms they have.

    Raises:
        PlanCurrencyMismatch: another quota of the plan is in another currency.
    """
    for other in quotas(new.plan_id):
        if other.usage_type != new.usage_type and other.currency != new.currency:
            raise PlanCurrencyMismatch(
                f"The plan {new.plan_id} is in {other.currency}, because its quota for {other.usage_type} is."
            )
    UsageQuotaTable(
        new.plan_id,
        new.usage_type,
        monthly_limit=new.monthly_limit,
        unit_price=new.unit_price,
        unit_name=new.unit_name,
        currency=new.currency,
    ).save()


def _quota(row: UsageQuotaTable) -> Quota:
    return Quota(
        plan_id=row.plan_id,
        usage_type=row.usage_type,
        monthly_limit=row.monthly_limit,
        unit_price=row.unit_price,
        unit_name=row.unit_name,
        currency=row.currency,
    )
