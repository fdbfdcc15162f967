"""The price model `graduated`: each tier prices its own part of the quantity. Pure."""

from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar, Literal

from usage_billing.kernel.numbers import ZERO, subtract
from usage_billing.pricing.model import PriceFields
from usage_billing.pricing.price_lines import PriceLine
from usage_billing.pricing.tiers import Tiered, TieredPrice


class GraduatedPrice(TieredPrice):
    """Each tier prices its own part of the quantity, and charges its flat fee once it holds anything."""

    model: Literal["graduated"]

    def price(self) -> "Graduated":
        return Graduated(tuple(tier.tier() for tier in self.tiers))


@dataclass(frozen=True, slots=True)
class Graduated(Tiered):
    """The charge never falls while the quantity grows."""

    kind: ClassVar[str] = "graduated"
    fields: ClassVar[type[PriceFields]] = GraduatedPrice

    def lines(self, quantity: Decimal) -> tuple[PriceLine, ...]:
        found: list[PriceLine] = []
        below = ZERO
        for tier in self.tiers:
            if quantity <= below:
                break
            top = quantity if tier.up_to is None else min(quantity, tier.up_to)
            found.append(tier.line(subtract(top, below)))
            below = top
        return tuple(found)

    def shown(self, currency: str) -> TieredPrice:
        return GraduatedPrice.of(self, currency)
