"""Usage of a subscription in a period, by usage type."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from usage_billing.kernel import cursors
from usage_billing.kernel.instants import instant
from usage_billing.kernel.periods import Period
from usage_billing.subscriptions.model import Subscription
from usage_billing.usage import store as ledger_store
from usage_billing.usage.ledger import Head, LedgerKey
from usage_billing.usage.rating import offered_terms


@dataclass(frozen=True, slots=True)
class UsagePage:
    """Some usage types of a subscription in a period, each with its head, or with the head that it would begin with."""

    subscription: Subscription
    period: Period
    heads: Sequence[Head]
    next_cursor: str | None


def usage(
    subscription: Subscription, now: datetime, limit: int, cursor: str | None = None, moment: datetime | None = None
) -> UsagePage:
    """Return a page of what a subscription used, by usage type, in the period of `moment`, or of `now` without one.

    A cursor continues in the period in which its list began. A period that has not ended includes the plan's usage
    types without a ledger, with the terms that they would get.

    Raises:
        ValidationFailed: the cursor is not one of this list's, or of another period than that of `moment`.
    """
    period, after = _page(subscription, cursor, moment, now)
    used = ledger_store.heads(subscription.subscription_id, period.key, after, limit + 1)
    heads = {head.key.usage_type: head for head in used}
    if now < period.end:
        for usage_type, terms in offered_terms(subscription, period, after or None, limit + 1).items():
            key = LedgerKey.of(subscription.subscription_id, period, usage_type)
            heads.setdefault(usage_type, Head(key, subscription.user_id, period, terms))
    page = [heads[usage_type] for usage_type in sorted(heads)[:limit]]
    more = len(heads) > limit
    next_cursor = cursors.encode(period.key, page[-1].key.usage_type) if more else None
    return UsagePage(subscription, period, page, next_cursor)


def _page(subscription: Subscription, cursor: str | None, moment: datetime | None, now: datetime) -> tuple[Period, str]:
    """The period of a page of usage, and the usage type behind which it begins."""
    if cursor is None:
        return subscription.cycle.period_of(moment or now), ""
    period_start, after = map(str, cursors.decode(cursor, str, str))
    try:
        period = subscription.cycle.period_of(instant(period_start))
    except (ValueError, OverflowError):  # no instant, or one of a year that no period is in
        raise cursors.invalid_cursor() from None
    if period.key != period_start or (moment and moment not in period):
        raise cursors.invalid_cursor()
    return period, after
