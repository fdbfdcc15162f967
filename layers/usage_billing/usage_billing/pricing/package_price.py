"""The price model `package`: a price for each package of units, and a started package costs as much as a full one.

Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Literal, Self

from usage_billing.kernel.fields import Quantity, UnitPrice
from usage_billing.kernel.money import with_minor_digits
from usage_billing.kernel.numbers import EXACT, add, multiply
from usage_billing.pricing.model import PriceFields
from usage_billing.pricing.price_lines import PriceLine


class PackagePrice(PriceFields):
    """Each package of `packageSize` units costs `packagePrice`, also one that is only started."""

    model: Literal["package"]
    package_size: Quantity
    package_price: UnitPrice

    def price(self) -> "Packaged":
        return Packaged(self.package_size, self.package_price)


@dataclass(frozen=True, slots=True)
class Packaged:
    package_size: Decimal
    package_price: Decimal

    kind: ClassVar[str] = "package"
    fields: ClassVar[type[PriceFields]] = PackagePrice
    unit_price: ClassVar[None] = None

    @property
    def bounds(self) -> tuple[Decimal, ...]:
        return (self.package_size,)

    def charge(self, quantity: Decimal) -> Decimal:
        return multiply(self._packages(quantity), self.package_price)

    def lines(self, quantity: Decimal) -> tuple[PriceLine, ...]:
        if not quantity:
            return ()
        return (PriceLine(self._packages(quantity), self.package_price, package_size=self.package_size),)

    def _packages(self, quantity: Decimal) -> Decimal:
        """Return how many packages `quantity` starts. Whole packages and a rest are exact, a quotient need not be."""
        full, rest = EXACT.divmod(quantity, self.package_size)
        return add(full, Decimal(1)) if rest else full

    def shown(self, currency: str) -> PackagePrice:
        return PackagePrice.model_construct(
            model="package",
            package_size=self.package_size,
            package_price=with_minor_digits(self.package_price, currency),
        )

    def parameters(self) -> dict[str, Any]:
        return {"size": self.package_size, "price": self.package_price}

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Self:
        return cls(Decimal(parameters["size"]), Decimal(parameters["price"]))
