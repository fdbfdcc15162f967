"""Usage events, and how old one may be. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from usage_billing.kernel.identifiers import CUSTOMER_PREFIX

MAX_AGE = timedelta(days=366)
"""How long after it occurred an event can still be recorded."""

CLOCK_SKEW = timedelta(minutes=15)
"""How far a caller's clock may run ahead of ours."""


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """What a service reports.

    `reported_at` is when its sender made the report, `accepted_at` when we took it, if it waited in the queue since.
    An event without `occurred_at` occurred at the earlier of these.
    """

    event_id: str
    user_id: str
    subscription_id: str
    usage_type: str
    quantity: Decimal
    occurred_at: datetime | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    accepted_at: datetime | None = None
    reported_at: datetime | None = None

    @property
    def reported_by_customer(self) -> bool:
        """Whether a customer reported it: nobody else's ids have their prefix."""
        return self.event_id.startswith(CUSTOMER_PREFIX)

    def accepted(self, now: datetime) -> datetime:
        """When we took it; `now` if it comes straight from its caller."""
        return self.accepted_at or now

    def when(self, now: datetime) -> datetime:
        """When it occurred, as its caller says, or else when it was reported, but no later than when we took it.

        A report cannot be made after it arrived: its sender's clock is fast, and must not open the next period.
        """
        accepted = self.accepted(now)
        return self.occurred_at or min(self.reported_at or accepted, accepted)


def timely(occurred_at: datetime, now: datetime) -> bool:
    """Whether an event of `occurred_at` may be recorded at `now`."""
    return now - MAX_AGE <= occurred_at <= now + CLOCK_SKEW
