"""Terms: what a quantity costs in a ledger. Pure."""

from dataclasses import dataclass
from decimal import Decimal

from usage_billing.kernel.money import rounded
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
