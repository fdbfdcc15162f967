"""A subscription: whose it is, on which plan, and when its periods turn. Pure."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from usage_billing.periods import BillingCycle, MonthlyCycle
from usage_billing.values import Identifier, Strict


class SubscriptionStatus(StrEnum):
    ACTIVE = "active"
    PAUSED = "paused"
    CANCELED = "canceled"


class Subscription(Strict):
    """Only an active subscription takes new usage; what was recorded before is billed whatever the status."""

    subscription_id: Identifier
    user_id: Identifier
    plan_id: Identifier
    status: SubscriptionStatus = SubscriptionStatus.ACTIVE
    billing_anchor_day: Annotated[int, Field(strict=True, ge=1, le=31)] = 1

    @property
    def cycle(self) -> BillingCycle:
        return MonthlyCycle(self.billing_anchor_day)

    @property
    def is_active(self) -> bool:
        return self.status is SubscriptionStatus.ACTIVE
