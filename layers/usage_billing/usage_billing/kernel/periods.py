"""Half-open periods of time. Pure."""

from dataclasses import dataclass
from datetime import datetime

from usage_billing.kernel.instants import iso


@dataclass(frozen=True, slots=True)
class Period:
    """The instants from `start` (inclusive) to `end` (exclusive), both in UTC."""

    start: datetime
    end: datetime

    def __contains__(self, moment: datetime) -> bool:
        return self.start <= moment < self.end

    @property
    def key(self) -> str:
        """The start as text. Keys sort like the instants."""
        return iso(self.start)
