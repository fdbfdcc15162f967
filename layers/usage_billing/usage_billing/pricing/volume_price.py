"""The price model `volume`: the tier that holds all of the quantity prices all of it. Pure."""

from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar, Literal

from usage_billing.pricing.model import PriceFields
from usage_billing.pricing.price_lines import PriceLine
from usage_billing.pricing.tiers import Tiered, TieredPrice


class VolumePrice(TieredPrice):
    """The tier that holds all of the quantity prices all of it, plus its flat fee."""

    model: Literal["volume"]

    def price(self) -> "Volume":
        return Volume(tuple(tier.tier() for tier in self.tiers))


@dataclass(frozen=True, slots=True)
class Volume(Tiered):
    """The charge may fall where the quantity reaches the next tier. The next invoice item is then negative."""

    kind: ClassVar[str] = "volume"
    fields: ClassVar[type[PriceFields]] = VolumePrice

    def lines(self, quantity: Decimal) -> tuple[PriceLine, ...]:
        if not quantity:
            return ()
        tier = next(each for each in self.tiers if each.up_to is None or quantity <= each.up_to)
        return (tier.line(quantity),)

    def shown(self, currency: str) -> TieredPrice:
        return VolumePrice.of(self, currency)
