"""Billing cycles and the half-open periods they cut time into.

Everything else asks a cycle for the period of an instant and looks at nothing else, so another cycle or time zone
is another class with the same `period_of`, and one line of the registry at the end of this file. Pure.
"""

from calendar import monthrange
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Protocol, Self

from usage_billing.kernel.instants import utc
from usage_billing.kernel.kind_registry import Registered, Registry
from usage_billing.kernel.periods import Period


class Periodic(Protocol):
    """Cuts time into periods: every instant lies in exactly one."""

    def period_of(self, moment: datetime) -> Period: ...


class BillingCycle(Registered, Periodic, Protocol):
    """A cycle that a subscription can have. It is stored with the name of its kind."""


@dataclass(frozen=True, slots=True)
class MonthlyCycle:
    """A period per month, from midnight UTC of `anchor_day`, or of the last day of a month without such a day.

    Each start is derived from the anchor day, so 31 January is followed by 28 February and then by 31 March.
    """

    anchor_day: int = 1

    kind: ClassVar[str] = "monthly"

    def __post_init__(self) -> None:
        if not 1 <= self.anchor_day <= 31:
            raise ValueError("anchor_day must be from 1 to 31")

    def period_of(self, moment: datetime) -> Period:
        """Return the period that contains `moment`, which must be aware and in a year from 2 to 9998."""
        if moment.tzinfo is None:
            raise ValueError("moment must have a time zone")
        moment = utc(moment)
        month = moment.year * 12 + moment.month - 1
        if moment < self._turn(month):
            month -= 1
        return Period(self._turn(month), self._turn(month + 1))

    def _turn(self, month: int) -> datetime:
        """Return the instant at which a period starts in `month`, counted from January of year 0."""
        year, index = divmod(month, 12)
        last_day = monthrange(year, index + 1)[1]
        return datetime(year, index + 1, min(self.anchor_day, last_day), tzinfo=UTC)

    def parameters(self) -> dict[str, Any]:
        return {"anchorDay": self.anchor_day}

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Self:
        return cls(parameters["anchorDay"])


@dataclass(frozen=True, slots=True)
class SwitchedCycle:
    """`before` until the instant `at`, `after` from then on; a period that holds the switch is cut there."""

    before: Periodic
    at: datetime
    after: Periodic

    def period_of(self, moment: datetime) -> Period:
        if moment < self.at:
            period = self.before.period_of(moment)
            return Period(period.start, min(period.end, self.at))
        period = self.after.period_of(moment)
        return Period(max(period.start, self.at), period.end)


CYCLES: Registry[BillingCycle] = Registry(
    MonthlyCycle,
)
