"""Terms: the price of a ledger's quantity, pinned into the ledger. Pure."""

from dataclasses import dataclass
from decimal import Decimal

from usage_billing.kernel.money import rounded
from usage_billing.kernel.numbers import ZERO, subtract
from usage_billing.pricing.price_lines import PriceLine
from usage_billing.pricing.price_models import PriceModel


@dataclass(frozen=True, slots=True)
class Terms:
    """A quota as pinned into a ledger: `included` units are free, and `price` is the price of all others."""

    plan_id: str
    included: Decimal
    price: PriceModel
    unit_name: str
    currency: str

    def billable(self, total: Decimal) -> Decimal:
        """Return the overage: the part of `total` above the included units."""
        return max(ZERO, subtract(total, self.included))

    def charge(self, total: Decimal) -> Decimal:
        """Return what a ledger's `total` costs, exact and not rounded."""
        return self.price.charge(self.billable(total))

    def amount(self, total: Decimal) -> Decimal:
        """Return what a ledger's `total` costs, in the currency's minor units."""
        return rounded(self.charge(total), self.currency)

    def lines(self, total: Decimal) -> tuple[PriceLine, ...]:
        """Return the parts that a ledger's `total` is charged in; their exact amounts sum to its charge."""
        return self.price.lines(self.billable(total))
