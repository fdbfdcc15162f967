"""Domain values and request bodies with defaults, so that a test spells out only what it is about.

All defaults fit together: `user-1` owns the subscription `sub-1` on the plan `business`, which includes 50 units of
`assessment` per month and charges 10.00 USD for each unit of overage. `NOW` lies in `PERIOD`.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from usage_billing.access.callers import Caller, Role
from usage_billing.kernel.periods import Period
from usage_billing.plans.model import Quota
from usage_billing.pricing.model import PriceModel
from usage_billing.pricing.terms import Terms
from usage_billing.pricing.unit_price import UnitPriced
from usage_billing.subscriptions.cycles import MonthlyCycle
from usage_billing.subscriptions.model import Subscription, SubscriptionStatus
from usage_billing.usage.events import UsageEvent
from usage_billing.usage.ledger import Head, LedgerKey

Number = Decimal | int | str

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
PERIOD = Period(datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))
SERVICE = Caller("key:test", Role.INTERNAL)


def make_event(
    event_id: str = "e1",
    quantity: Number = 1,
    *,
    user_id: str = "user-1",
    subscription_id: str = "sub-1",
    usage_type: str = "assessment",
    occurred_at: datetime | None = None,
    metadata: Mapping[str, Any] | None = None,
    accepted_at: datetime | None = None,
    reported_at: datetime | None = None,
) -> UsageEvent:
    return UsageEvent(
        event_id=event_id,
        user_id=user_id,
        subscription_id=subscription_id,
        usage_type=usage_type,
        quantity=Decimal(quantity),
        occurred_at=occurred_at,
        metadata=metadata or {},
        accepted_at=accepted_at,
        reported_at=reported_at,
    )


def make_subscription(
    subscription_id: str = "sub-1",
    *,
    user_id: str = "user-1",
    plan_id: str = "business",
    status: SubscriptionStatus = SubscriptionStatus.ACTIVE,
    billing_anchor_day: int = 1,
) -> Subscription:
    return Subscription(
        subscription_id=subscription_id,
        user_id=user_id,
        plan_id=plan_id,
        status=status,
        latest_cycle=MonthlyCycle(billing_anchor_day),
    )


def make_quota(
    usage_type: str = "assessment",
    *,
    plan_id: str = "business",
    monthly_limit: Number = 50,
    unit_price: Number = "10.00",
    price: PriceModel | None = None,
    unit_name: str | None = None,
    currency: str = "USD",
    minimum_charge: Number | None = None,
    maximum_charge: Number | None = None,
    effective_from: datetime = NEW_YEAR,
    changed_by: str = "key:test",
    changed_at: datetime = NOW,
) -> Quota:
    """A version of a quota. Its unit is named like the usage type unless `unit_name` is given.

    `price` replaces `unit_price`.
    """
    return Quota(
        plan_id=plan_id,
        usage_type=usage_type,
        monthly_limit=Decimal(monthly_limit),
        price=price or UnitPriced(Decimal(unit_price)),
        unit_name=unit_name or usage_type,
        currency=currency,
        minimum_charge=_decimal(minimum_charge),
        maximum_charge=_decimal(maximum_charge),
        effective_from=effective_from,
        changed_by=changed_by,
        changed_at=changed_at,
    )


def make_terms(
    included: Number = 50,
    unit_price: Number = "10.00",
    currency: str = "USD",
    *,
    plan_id: str = "business",
    price: PriceModel | None = None,
    unit_name: str = "assessment",
    minimum_charge: Number | None = None,
    maximum_charge: Number | None = None,
) -> Terms:
    """Terms. `price` replaces `unit_price`."""
    return Terms(
        plan_id=plan_id,
        included=Decimal(included),
        price=price or UnitPriced(Decimal(unit_price)),
        unit_name=unit_name,
        currency=currency,
        minimum_charge=_decimal(minimum_charge),
        maximum_charge=_decimal(maximum_charge),
    )


def _decimal(number: Number | None) -> Decimal | None:
    return None if number is None else Decimal(number)


def make_key(subscription_id: str = "sub-1", usage_type: str = "assessment", period: Period = PERIOD) -> LedgerKey:
    return LedgerKey.of(subscription_id, period, usage_type)


KEY = make_key()
TERMS = make_terms()


def make_head(
    terms: Terms | None = TERMS,
    *,
    key: LedgerKey = KEY,
    user_id: str = "user-1",
    period: Period = PERIOD,
    last_sequence: int = 0,
    used: Number = 0,
) -> Head:
    """A head that nothing has been billed of. It is empty unless `last_sequence` and `used` are given."""
    return Head(key=key, user_id=user_id, period=period, terms=terms, last_sequence=last_sequence, used=Decimal(used))


def event_body(event_id: str | None = "e1", quantity: object = 1, **more: object) -> dict[str, Any]:
    """The JSON of a usage event. `more` replaces or adds fields; a field that is None is left out."""
    body = {
        "eventId": event_id,
        "userId": "user-1",
        "subscriptionId": "sub-1",
        "usageType": "assessment",
        "quantity": quantity,
    }
    return {name: value for name, value in (body | more).items() if value is not None}


def quota_body(usage_type: str = "assessment", **more: object) -> dict[str, Any]:
    """The JSON to PUT a quota of `usage_type`. `more` replaces or adds fields."""
    return {"monthlyLimit": 50, "unitPrice": "10.00", "unitName": usage_type} | more


def subscription_body(**more: object) -> dict[str, Any]:
    """The JSON to PUT a subscription. `more` replaces or adds fields."""
    return {"userId": "user-1", "planId": "business"} | more
