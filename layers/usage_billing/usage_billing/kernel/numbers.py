"""Decimal arithmetic that is exact or raises an error. Pure."""

from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow

EXACT = Context(prec=100, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])
"""Raises instead of rounding: sums and products of quantities and prices are always exact."""

ZERO = Decimal(0)


def canonical(number: Decimal) -> Decimal:
    """Return the same number without trailing zeros or a positive exponent: 5.00 becomes 5, 1E+5 becomes 100000."""
    stripped = number.normalize(EXACT)
    return stripped.quantize(Decimal(1), context=EXACT) if stripped.as_tuple().exponent > 0 else stripped  # type: ignore[operator]


def add(left: Decimal, right: Decimal) -> Decimal:
    return canonical(EXACT.add(left, right))


def subtract(left: Decimal, right: Decimal) -> Decimal:
    return canonical(EXACT.subtract(left, right))


def multiply(left: Decimal, right: Decimal) -> Decimal:
    return canonical(EXACT.multiply(left, right))


def as_text(number: Decimal) -> str:
    """Return the number as digits, never with an exponent."""
    return format(number, "f")
