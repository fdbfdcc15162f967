"""The lines of a charge: the arithmetic by which a quantity becomes money. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from usage_billing.kernel.numbers import ZERO, add, multiply


class LineKind(StrEnum):
    """What a line charges: a part of the usage, or the difference to the minimum or the maximum charge."""

    USAGE = "usage"
    MINIMUM = "minimum"
    MAXIMUM = "maximum"


@dataclass(frozen=True, slots=True)
class PriceLine:
    """A part of a charge: `quantity` x `unit_price` + `flat_fee`.

    Units: the quota's unit, or packages of `package_size` units where there is one; exact money in the terms' currency.
    """

    quantity: Decimal
    unit_price: Decimal
    flat_fee: Decimal = ZERO
    kind: LineKind = LineKind.USAGE
    package_size: Decimal | None = None

    @property
    def amount(self) -> Decimal:
        """The exact amount of the line, not rounded. It is negative where the maximum charge lowers what is owed."""
        return add(multiply(self.quantity, self.unit_price), self.flat_fee)


def sum_of(lines: Iterable[PriceLine]) -> Decimal:
    """Return the sum of the exact amounts of `lines`."""
    total = ZERO
    for line in lines:
        total = add(total, line.amount)
    return total
