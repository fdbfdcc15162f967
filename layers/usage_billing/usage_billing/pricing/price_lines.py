"""The parts that a quantity is charged in. Pure."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class PriceLine:
    """A part of a charged quantity, and its exact amount."""

    quantity: Decimal
    unit_price: Decimal
    amount: Decimal
