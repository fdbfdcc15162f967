"""What quantities cost, computed with fractions from what is stored, and without the code under test."""

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from math import ceil
from typing import Any

Numbers = list[Decimal | None]


def by_unit(quantity: Fraction, unitPrice: Decimal) -> Fraction:  # noqa: N803 - the name that is stored
    return quantity * Fraction(unitPrice)


def graduated(quantity: Fraction, tiers: list[Numbers]) -> Fraction:
    total, lower = Fraction(0), Fraction(0)
    for up_to, unit_price, *fee in tiers:
        upper = quantity if up_to is None else min(quantity, Fraction(up_to))
        if upper > lower:
            total += (upper - lower) * fraction(unit_price) + sum(map(fraction, fee))
        lower = upper if up_to is None else Fraction(up_to)
    return total


def volume(quantity: Fraction, tiers: list[Numbers]) -> Fraction:
    [(unit_price, fee), *_] = [(price, fee) for up_to, price, *fee in tiers if up_to is None or quantity <= up_to]
    return quantity * fraction(unit_price) + sum(map(fraction, fee)) if quantity else Fraction(0)


def package(quantity: Fraction, size: Decimal, price: Decimal) -> Fraction:
    return ceil(quantity / Fraction(size)) * Fraction(price)


CHARGES: dict[str, Callable[..., Fraction]] = {
    "unit": by_unit,
    "graduated": graduated,
    "volume": volume,
    "package": package,
}
"""The exact price of a charged quantity, by the kind of price model. The arguments are the stored parameters."""


def price_of(quantity: Fraction, stored: str) -> Fraction:
    """The exact price of a charged quantity by a price as it is stored."""
    parameters = json.loads(stored, parse_float=Decimal, parse_int=Decimal)
    return CHARGES[parameters.pop("kind")](quantity, **parameters)


def charge_of(quantity: Fraction, terms: Mapping[str, Any], closed_share: Fraction | None = None) -> Fraction:
    """The exact charge of a charged quantity by terms as they are stored. `closed_share` is None until closing."""
    charge = price_of(quantity, terms["price"])
    if terms.get("maximum_charge") is not None:
        charge = min(charge, Fraction(terms["maximum_charge"]))
    if terms.get("minimum_charge") is not None and closed_share is not None:
        least = Fraction(terms["minimum_charge"]) * closed_share
        charge = max(charge, Fraction(int(least * 10**9), 10**9))
    return charge


def half_up(amount: Fraction, digits: int) -> Fraction:
    """An amount that may be negative, rounded to `digits` after the decimal point, halves away from 0."""
    scaled = abs(amount) * 10**digits
    rounded = Fraction((2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator), 10**digits)
    return rounded if amount >= 0 else -rounded


def fraction(number: Decimal | None) -> Fraction:
    assert number is not None
    return Fraction(number)
