"""A subscription: whose it is, on which plan, and when its periods turn. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

from usage_billing.subscriptions.cycles import BillingCycle, MonthlyCycle, SwitchedCycle


class SubscriptionStatus(StrEnum):
    ACTIVE = "active"
    PAUSED = "paused"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True)
class EarlierAnchor:
    """An anchor day that held until the instant `until`, at which another one took over."""

    day: int
    until: datetime


SPREAD = timedelta(minutes=2)
"""How long a change may take to reach every function: each remembers a subscription for up to a minute."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """Only an active subscription takes new usage; what was recorded before is billed whatever the status.

    Periods that have begun never change: another anchor day holds from the end of the current period on, and what held
    before is kept, so that an instant lies in the same period whenever it is asked for.
    """

    subscription_id: str
    user_id: str
    plan_id: str
    status: SubscriptionStatus = SubscriptionStatus.ACTIVE
    billing_anchor_day: int = 1
    earlier_anchors: tuple[EarlierAnchor, ...] = ()

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
        running = replace(self, billing_anchor_day=current, earlier_anchors=in_force)
        if day == current:
            return running
        until = running.cycle.period_of(soon).end
        earlier_anchors = (*in_force, EarlierAnchor(day=current, until=until))
        return replace(running, billing_anchor_day=day, earlier_anchors=earlier_anchors)

    @property
    def is_active(self) -> bool:
        return self.status is SubscriptionStatus.ACTIVE
