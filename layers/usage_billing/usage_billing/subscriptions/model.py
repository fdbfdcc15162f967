"""Subscriptions: user, plan, status, and the billing cycle with its changes. Pure."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

from usage_billing.subscriptions.cycles import BillingCycle, MonthlyCycle, Periodic, SwitchedCycle


class SubscriptionStatus(StrEnum):
    ACTIVE = "active"
    PAUSED = "paused"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True)
class EarlierCycle:
    """A cycle that held until the instant `until`, at which another one took over."""

    cycle: BillingCycle
    until: datetime


SPREAD = timedelta(minutes=2)
"""Time until a change may take effect. Long before that, no function still writes by what it read earlier."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """Only an active subscription takes new usage; what was recorded before is billed whatever the status.

    Periods that have begun never change: another cycle holds from the end of the current period on, and what held
    before is kept, so that an instant lies in the same period whenever it is asked for.
    """

    subscription_id: str
    user_id: str
    plan_id: str
    status: SubscriptionStatus = SubscriptionStatus.ACTIVE
    latest_cycle: BillingCycle = field(default_factory=MonthlyCycle)
    """The cycle that was asked for last. It may take over later."""
    earlier_cycles: tuple[EarlierCycle, ...] = ()

    @property
    def cycle(self) -> Periodic:
        cycle: Periodic = self.latest_cycle
        for earlier in reversed(self.earlier_cycles):
            cycle = SwitchedCycle(earlier.cycle, earlier.until, cycle)
        return cycle

    def with_cycle(self, cycle: BillingCycle, now: datetime) -> Self:
        """Return this subscription with another cycle from the end of its current period on.

        A change that was asked for before and has not taken over yet is replaced.
        """
        soon = now + SPREAD
        in_force = tuple(earlier for earlier in self.earlier_cycles if earlier.until <= soon)
        coming = self.earlier_cycles[len(in_force) :]
        current = coming[0].cycle if coming else self.latest_cycle
        running = replace(self, latest_cycle=current, earlier_cycles=in_force)
        if cycle == current:
            return running
        until = running.cycle.period_of(soon).end
        return replace(running, latest_cycle=cycle, earlier_cycles=(*in_force, EarlierCycle(current, until)))

    @property
    def is_active(self) -> bool:
        return self.status is SubscriptionStatus.ACTIVE
