"""A subscription: whose it is, on which plan, and when its periods turn. Pure."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field

from usage_billing.kernel.fields import Instant, Strict
from usage_billing.kernel.identifiers import Identifier
from usage_billing.subscriptions.cycles import BillingCycle, MonthlyCycle, SwitchedCycle


class SubscriptionStatus(StrEnum):
    ACTIVE = "active"
    PAUSED = "paused"
    CANCELED = "canceled"


class EarlierAnchor(Strict):
    """An anchor day that held until the instant `until`, at which another one took over."""

    day: int
    until: Instant


SPREAD = timedelta(minutes=2)
"""How long a change may take to reach every function: each remembers a subscription for up to a minute."""


class Subscription(Strict):
    """Only an active subscription takes new usage; what was recorded before is billed whatever the status.

    Periods that have begun never change: another anchor day holds from the end of the current period on, and what held
    before is kept, so that an instant lies in the same period whenever it is asked for.
    """

    subscription_id: Identifier
    user_id: Identifier
    plan_id: Identifier
    status: SubscriptionStatus = SubscriptionStatus.ACTIVE
    billing_anchor_day: Annotated[int, Field(strict=True, ge=1, le=31)] = 1
    earlier_anchors: Annotated[tuple[EarlierAnchor, ...], Field(exclude=True)] = ()

    @property
    def cycle(self) -> BillingCycle:
        cycle: BillingCycle = MonthlyCycle(self.billing_anchor_day)
        for earlier in reversed(self.earlier_anchors):
            cycle = SwitchedCycle(MonthlyCycle(earlier.day), earlier.until, cycle)
        return cycle

    def with_anchor_day(self, day: int, now: datetime) -> Self:
        """This subscription with another anchor day from the end of its current period on.

        A change that was asked for before and has not taken over yet is replaced.
        """
        soon = now + SPREAD
        in_force = tuple(earlier for earlier in self.earlier_anchors if earlier.until <= soon)
        coming = self.earlier_anchors[len(in_force) :]
        current = coming[0].day if coming else self.billing_anchor_day
        running = self.model_copy(update={"billing_anchor_day": current, "earlier_anchors": in_force})
        if day == current:
            return running
        until = running.cycle.period_of(soon).end
        earlier_anchors = (*in_force, EarlierAnchor(day=current, until=until))
        return running.model_copy(update={"billing_anchor_day": day, "earlier_anchors": earlier_anchors})

    @property
    def is_active(self) -> bool:
        return self.status is SubscriptionStatus.ACTIVE
