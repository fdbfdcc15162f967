"""Load and save subscriptions."""

from collections.abc import Callable

from pynamodb.exceptions import DoesNotExist, PutError

from usage_billing.kernel.errors import DatabaseUnavailable, SubscriptionNotFound
from usage_billing.kernel.exact_json import dumps, loads
from usage_billing.kernel.instants import instant, iso
from usage_billing.platform.dynamodb import error_code
from usage_billing.platform.retries import attempts
from usage_billing.platform.tables import SubscriptionTable, SubscriptionUserIndex
from usage_billing.subscriptions.cycles import CYCLES
from usage_billing.subscriptions.model import EarlierCycle, Subscription, SubscriptionStatus


def subscription(subscription_id: str) -> Subscription:
    """Return the subscription, read consistently.

    Raises:
        SubscriptionNotFound: there is none.
    """
    try:
        return subscription_of(SubscriptionTable.get(subscription_id, consistent_read=True))
    except DoesNotExist:
        raise not_found(subscription_id) from None


def not_found(subscription_id: str) -> SubscriptionNotFound:
    """Return the error that there is no such subscription."""
    return SubscriptionNotFound(f"There is no subscription {subscription_id}.")


def subscriptions_of(user_id: str, after: str | None, limit: int) -> list[Subscription]:
    """Return up to `limit` subscriptions of a user, by id, after the id `after`."""
    behind = SubscriptionUserIndex.subscription_id > after if after else None
    rows = SubscriptionTable.user_index.query(user_id, behind, limit=limit)
    return [subscription_of(row) for row in rows]


def has_subscription_on(user_id: str, plan_id: str) -> bool:
    """Return True if one of the user's subscriptions is on the plan, in any status."""
    on_plan = SubscriptionTable.plan_id == plan_id
    return next(iter(SubscriptionTable.user_index.query(user_id, filter_condition=on_plan)), None) is not None


def change_subscription(subscription_id: str, change: Callable[[Subscription | None], Subscription]) -> Subscription:
    """Save `change(subscription)`; `change` gets None if the subscription does not exist.

    Raises:
        DatabaseUnavailable: too many concurrent changes to the subscription.
        Exception: any exception that `change` raises.
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
    """Write a subscription if it has not changed since it was `seen` (None: it must not exist).

    Return True if it was written.
    """
    row, table = _row(new), SubscriptionTable
    condition = table.subscription_id.does_not_exist()
    if seen:
        before = _row(seen)
        condition = (table.user_id == before.user_id) & (table.plan_id == before.plan_id)
        condition &= (table.status == before.status) & (table.cycle == before.cycle)
        earlier = table.earlier_cycles
        condition &= earlier == before.earlier_cycles if before.earlier_cycles else earlier.does_not_exist()
    try:
        row.save(condition=condition)
    except PutError as error:
        if error_code(error) != "ConditionalCheckFailedException":
            raise
        return False
    return True


def _row(subscription: Subscription) -> SubscriptionTable:
    earlier = [[CYCLES.dumps(each.cycle), iso(each.until)] for each in subscription.earlier_cycles]
    return SubscriptionTable(
        subscription.subscription_id,
        user_id=subscription.user_id,
        plan_id=subscription.plan_id,
        status=subscription.status.value,
        cycle=CYCLES.dumps(subscription.latest_cycle),
        earlier_cycles=dumps(earlier) if earlier else None,
    )


def subscription_of(row: SubscriptionTable) -> Subscription:
    """Return the subscription that an item of the table holds."""
    return Subscription(
        subscription_id=row.subscription_id,
        user_id=row.user_id,
        plan_id=row.plan_id,
        status=SubscriptionStatus(row.status),
        latest_cycle=CYCLES.loads(row.cycle),
        earlier_cycles=tuple(
            EarlierCycle(CYCLES.loads(cycle), instant(until)) for cycle, until in loads(row.earlier_cycles or "[]")
        ),
    )
