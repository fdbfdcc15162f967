"""Subscriptions in requests and responses."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, Field

from usage_billing.kernel.errors import SubscriptionUserFixed
from usage_billing.kernel.fields import Strict
from usage_billing.kernel.identifiers import Identifier
from usage_billing.subscriptions import model
from usage_billing.subscriptions.cycles import MonthlyCycle
from usage_billing.subscriptions.model import SubscriptionStatus
from usage_billing.web.base_models import Request, require_same


def _whole(value: object) -> object:
    """To JSON 9.0 is the integer 9."""
    return int(value) if isinstance(value, Decimal) and value == value.to_integral_value() else value


class SubscriptionTerms(Request):
    """A subscription. Its id is in the path; the body may repeat it.

    If `status` or `billingAnchorDay` is left out, it stays as it is. A new subscription is active and has anchor day 1.
    """

    subscription_id: Identifier | None = None
    user_id: Identifier
    plan_id: Identifier
    status: SubscriptionStatus | None = None
    billing_anchor_day: Annotated[int | None, Field(strict=True, ge=1, le=31), BeforeValidator(_whole)] = None

    def subscription(
        self, subscription_id: str, current: model.Subscription | None, now: datetime
    ) -> model.Subscription:
        """Return the subscription that `current`, if there is one, becomes.

        Raises:
            SubscriptionUserFixed: it belongs to another user.
        """
        require_same("subscriptionId", self.subscription_id, subscription_id)
        if current is None:
            return model.Subscription(
                subscription_id=subscription_id,
                user_id=self.user_id,
                plan_id=self.plan_id,
                status=self.status or SubscriptionStatus.ACTIVE,
                latest_cycle=MonthlyCycle(self.billing_anchor_day or 1),
            )
        if current.user_id != self.user_id:
            raise SubscriptionUserFixed(
                "The user of a subscription cannot be changed. Cancel it, and create another one for the other user."
            )
        changed = replace(current, plan_id=self.plan_id, status=self.status or current.status)
        cycle = MonthlyCycle(self.billing_anchor_day) if self.billing_anchor_day else current.latest_cycle
        return changed.with_cycle(cycle, now)


class Subscription(Strict):
    """A subscription. Only an active one accepts new usage; recorded usage is billed whatever the status.

    Periods that have begun never change: a new anchor day applies from the end of the current period.
    """

    subscription_id: Identifier
    user_id: Identifier
    plan_id: Identifier
    status: SubscriptionStatus = SubscriptionStatus.ACTIVE
    billing_anchor_day: Annotated[int | None, Field(strict=True, ge=1, le=31)] = 1

    @classmethod
    def of(cls, stored: model.Subscription) -> "Subscription":
        cycle = stored.latest_cycle
        return cls(
            subscription_id=stored.subscription_id,
            user_id=stored.user_id,
            plan_id=stored.plan_id,
            status=stored.status,
            billing_anchor_day=cycle.anchor_day if isinstance(cycle, MonthlyCycle) else None,
        )
