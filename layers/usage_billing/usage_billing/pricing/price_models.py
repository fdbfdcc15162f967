"""Price models: the price of a charged quantity. Each is one file, and one line of the registry here. Pure.

Outside this package only `plans/api.py` names a price model: the one that its requests can contain.
"""

from decimal import Decimal
from typing import Protocol

from usage_billing.kernel.kind_registry import Registered, Registry
from usage_billing.pricing.price_lines import PriceLine
from usage_billing.pricing.unit_price import UnitPriced


class PriceModel(Registered, Protocol):
    """The price of a charged quantity, in the currency of the terms. A quantity of 0 costs nothing."""

    @property
    def unit_price(self) -> Decimal | None:
        """The price of each unit; None where it depends on the quantity."""

    def charge(self, quantity: Decimal) -> Decimal:
        """Return the price of `quantity`, exact and not rounded."""

    def lines(self, quantity: Decimal) -> tuple[PriceLine, ...]:
        """Return the parts that `quantity` is charged in; their amounts sum to its charge."""


PRICE_MODELS: Registry[PriceModel] = Registry(
    UnitPriced,
)
