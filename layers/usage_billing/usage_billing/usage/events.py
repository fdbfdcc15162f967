"""Usage events, and the age at which they are still accepted. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from usage_billing.kernel.identifiers import CUSTOMER_PREFIX


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """A usage event as reported.

    `reported_at` is when the sender made the report. `accepted_at` is when we accepted an event that then waited in the
    queue. An event without `occurred_at` occurred at the earlier of these.
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
        """Return whether a customer reported it: only ids of customers' events have this prefix."""
        return self.event_id.startswith(CUSTOMER_PREFIX)

    def accepted(self, now: datetime) -> datetime:
        """Return when we accepted it: `now` if it comes directly from its caller."""
        return self.accepted_at or now

    def when(self, now: datetime) -> datetime:
        """Return when it occurred: as its caller says, or when it was reported, but not after we accepted it.

        A report that seems to be made after it arrived comes from a fast clock. It must not open the next period.
        """
        accepted = self.accepted(now)
        return self.occurred_at or min(self.reported_at or accepted, accepted)
