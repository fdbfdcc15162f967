"""What a quantity costs under a plan: quotas, the terms they become, and the one place that rounds money.

Callers ask terms only for `billable(total)`, `charge(total)` and `amount(total)`, so another price model (tiers,
packages) is another implementation of these. Pure: no AWS, no clock, no environment.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Self

from pydantic import model_validator

from usage_billing.kernel.fields import Limit, PrintableText, Strict, UnitPrice
from usage_billing.kernel.identifiers import Identifier
from usage_billing.kernel.money import Currency, in_minor_units, rounded
from usage_billing.kernel.numbers import ZERO, multiply, subtract


@dataclass(frozen=True, slots=True)
class Terms:
    """A quota as pinned into a ledger when it opens: `unit_price` for every unit beyond `included`."""

    plan_id: str
    included: Decimal
    unit_price: Decimal
    unit_name: str
    currency: str

    def billable(self, total: Decimal) -> Decimal:
        """The part of a ledger's `total` that lies beyond the included units."""
        return max(ZERO, subtract(total, self.included))

    def charge(self, total: Decimal) -> Decimal:
        """What a ledger's `total` costs, exact and not rounded."""
        return multiply(self.billable(total), self.unit_price)

    def amount(self, total: Decimal) -> Decimal:
        """What a ledger's `total` costs, in the currency's minor units."""
        return rounded(self.charge(total), self.currency)


class Quota(Strict):
    """A plan's terms for a usage type: the units included each month and the price of each one beyond."""

    plan_id: Identifier
    usage_type: Identifier
    monthly_limit: Limit
    unit_price: UnitPrice
    unit_name: PrintableText
    currency: Currency = "USD"

    @model_validator(mode="after")
    def _show_minor_units(self) -> Self:
        object.__setattr__(self, "unit_price", in_minor_units(self.unit_price, self.currency))
        return self

    @property
    def terms(self) -> Terms:
        return Terms(
            plan_id=self.plan_id,
            included=self.monthly_limit,
            unit_price=self.unit_price,
            unit_name=self.unit_name,
            currency=self.currency,
        )
