"""Load and save what billing goes by: subscriptions and quotas."""

from collections.abc import Callable

from pynamodb.exceptions import DoesNotExist, PutError, TransactWriteError

from usage_billing.kernel.errors import DatabaseUnavailable, PlanCurrencyMismatch, QuotaNotFound, SubscriptionNotFound
from usage_billing.kernel.exact_json import dumps, loads
from usage_billing.kernel.instants import instant, iso
from usage_billing.platform.recent import Recent
from usage_billing.platform.retries import attempts
from usage_billing.platform.tables import SubscriptionTable, SubscriptionUserIndex, UsageQuotaTable, error_code
from usage_billing.platform.transactions import cancellation, old_item, write
from usage_billing.pricing import Quota, Terms
from usage_billing.subscriptions import EarlierAnchor, Subscription, SubscriptionStatus


def subscription(subscription_id: str) -> Subscription:
    """The subscription as it is now.

    Raises:
        SubscriptionNotFound: there is none.
    """
    try:
        return _subscription(SubscriptionTable.get(subscription_id, consistent_read=True))
    except DoesNotExist:
        raise SubscriptionNotFound(f"There is no subscription {subscription_id}.") from None


_subscriptions = Recent[str, Subscription](10_000)
_quotas = Recent[tuple[str, str | None, int], list[Quota]](100)
"""Pages of a plan's quotas."""


def recent_subscription(subscription_id: str) -> Subscription:
    """The subscription as it was at most a minute ago, remembered by this process.

    Raises:
        SubscriptionNotFound: there is none; that is not remembered.
    """
    return _subscriptions.get(subscription_id, lambda: subscription(subscription_id))


def forget_subscriptions() -> None:
    """Empty what `recent_subscription` and `recent_quotas` remember."""
    _subscriptions.clear()
    _quotas.clear()


def subscriptions_of(user_id: str, after: str | None, limit: int) -> list[Subscription]:
    """Up to `limit` subscriptions of a user, by id, beginning behind the id `after`."""
    behind = SubscriptionUserIndex.subscription_id > after if after else None
    rows = SubscriptionTable.user_index.query(user_id, behind, limit=limit)
    return [_subscription(row) for row in rows]


def has_subscription_on(user_id: str, plan_id: str) -> bool:
    """Whether one of the user's subscriptions, in whatever status, is on the plan."""
    on_plan = SubscriptionTable.plan_id == plan_id
    return next(iter(SubscriptionTable.user_index.query(user_id, filter_condition=on_plan)), None) is not None


def change_subscription(subscription_id: str, change: Callable[[Subscription | None], Subscription]) -> Subscription:
    """Replace a subscription by what `change` makes of it, or of None where there is none yet.

    Raises:
        DatabaseUnavailable: others kept changing it.
        Exception: what `change` raises.
    """
    for _ in attempts():
        try:
            seen = subscription(subscription_id)
        except SubscriptionNotFound:
            seen = None
        new = change(seen)
        if save_subscription(new, seen):
            return new
    raise DatabaseUnavailable("Too many concurrent changes to this subscription; send the same request again.")


def save_subscription(new: Subscription, seen: Subscription | None = None) -> bool:
    """Write a subscription if it still is as it was `seen`, or is not there yet; whether it was written."""
    row, table = _row(new), SubscriptionTable
    condition = table.subscription_id.does_not_exist()
    if seen:
        before = _row(seen)
        condition = (table.user_id == before.user_id) & (table.plan_id == before.plan_id)
        condition &= (table.status == before.status) & (table.billing_anchor_day == before.billing_anchor_day)
        anchors = table.earlier_anchors
        condition &= anchors == before.earlier_anchors if before.earlier_anchors else anchors.does_not_exist()
    try:
        row.save(condition=condition)
    except PutError as error:
        if error_code(error) != "ConditionalCheckFailedException":
            raise
        return False
    _subscriptions.forget(new.subscription_id)
    return True


def _row(subscription: Subscription) -> SubscriptionTable:
    anchors = [[earlier.day, iso(earlier.until)] for earlier in subscription.earlier_anchors]
    return SubscriptionTable(
        subscription.subscription_id,
        user_id=subscription.user_id,
        plan_id=subscription.plan_id,
        status=subscription.status.value,
        billing_anchor_day=subscription.billing_anchor_day,
        earlier_anchors=dumps(anchors) if anchors else None,
    )


def _subscription(row: SubscriptionTable) -> Subscription:
    return Subscription(
        subscription_id=row.subscription_id,
        user_id=row.user_id,
        plan_id=row.plan_id,
        status=SubscriptionStatus(row.status),
        billing_anchor_day=row.billing_anchor_day,
        earlier_anchors=tuple(
            EarlierAnchor(day=day, until=instant(until)) for day, until in loads(row.earlier_anchors or "[]")
        ),
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
    behind = UsageQuotaTable.usage_type > max(after or "", UsageQuotaTable.PLAN)
    return [_quota(row) for row in UsageQuotaTable.query(plan_id, behind, consistent_read=True, limit=limit)]


def recent_quotas(plan_id: str, after: str | None, limit: int) -> list[Quota]:
    """The same as they were at most a minute ago, remembered by this process."""
    return _quotas.get((plan_id, after, limit), lambda: quotas(plan_id, after, limit))


def save_quota(new: Quota) -> None:
    """Create or replace a quota. Ledgers that are open keep the terms they have.

    The first quota of a plan fixes the plan's currency, for ever: it is written in the same transaction as the quota,
    on condition that the plan has no other. So two currencies cannot get into a plan, whoever comes in between.

    Raises:
        PlanCurrencyMismatch: the plan is in another currency.
        DatabaseUnavailable: others kept changing the plan; the same quota can be saved again.
    """
    row = UsageQuotaTable
    quota = row(new.plan_id, new.usage_type).change(
        [
            row.monthly_limit.set(new.monthly_limit),
            row.unit_price.set(new.unit_price),
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
            if stored := old_item(cancellation(error)[1]):
                currency = UsageQuotaTable.from_raw_data(stored).currency
                raise PlanCurrencyMismatch(f"The plan {new.plan_id} is in {currency} and keeps it.") from None
        else:
            _quotas.clear()
            return
    raise DatabaseUnavailable("Others keep changing this plan; send the same request again.")


def _quota(row: UsageQuotaTable) -> Quota:
    return Quota(
        plan_id=row.plan_id,
        usage_type=row.usage_type,
        monthly_limit=row.monthly_limit,
        unit_price=row.unit_price,
        unit_name=row.unit_name,
        currency=row.currency,
    )
