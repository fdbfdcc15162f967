"""The price model `unit`: the same price for each unit. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Literal, Self

from usage_billing.kernel.fields import UnitPrice
from usage_billing.kernel.money import with_minor_digits
from usage_billing.kernel.numbers import multiply
from usage_billing.pricing.model import PriceFields
from usage_billing.pricing.price_lines import PriceLine


class PerUnitPrice(PriceFields):
    """Each unit costs `unitPrice`."""

    model: Literal["unit"]
    unit_price: UnitPrice

    def price(self) -> "UnitPriced":
        return UnitPriced(self.unit_price)


@dataclass(frozen=True, slots=True)
class UnitPriced:
    unit_price: Decimal

    kind: ClassVar[str] = "unit"
    fields: ClassVar[type[PriceFields]] = PerUnitPrice
    bounds: ClassVar[tuple[Decimal, ...]] = ()

    def charge(self, quantity: Decimal) -> Decimal:
        return multiply(quantity, self.unit_price)

    def lines(self, quantity: Decimal) -> tuple[PriceLine, ...]:
        return (PriceLine(quantity, self.unit_price),) if quantity else ()

    def shown(self, currency: str) -> PerUnitPrice:
        return PerUnitPrice.model_construct(model="unit", unit_price=with_minor_digits(self.unit_price, currency))

    def parameters(self) -> dict[str, Any]:
        return {"unitPrice": self.unit_price}

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Self:
        return cls(Decimal(parameters["unitPrice"]))
