"""The price model `unit`: the same price for each unit. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Self

from usage_billing.kernel.numbers import multiply
from usage_billing.pricing.price_lines import PriceLine


@dataclass(frozen=True, slots=True)
class UnitPriced:
    unit_price: Decimal

    kind: ClassVar[str] = "unit"

    def charge(self, quantity: Decimal) -> Decimal:
        return multiply(quantity, self.unit_price)

    def lines(self, quantity: Decimal) -> tuple[PriceLine, ...]:
        return (PriceLine(quantity, self.unit_price),) if quantity else ()

    def parameters(self) -> dict[str, Any]:
        return {"unitPrice": self.unit_price}

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Self:
        return cls(Decimal(parameters["unitPrice"]))
