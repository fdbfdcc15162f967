"""Exact decimal arithmetic: it is exact, or it raises. Pure."""

from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow

EXACT = Context(prec=100, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])
"""Arithmetic that is exact or raises: sums and products of quantities and prices never round silently."""

ZERO = Decimal(0)


def plain(number: Decimal) -> Decimal:
    """The same number without trailing zeros and without a positive exponent: 1E+5 -> 100000, 5.00 -> 5."""
    stripped = number.normalize(EXACT)
    return stripped.quantize(Decimal(1), context=EXACT) if stripped.as_tuple().exponent > 0 else stripped  # type: ignore[operator]


def add(left: Decimal, right: Decimal) -> Decimal:
    return plain(EXACT.add(left, right))


def subtract(left: Decimal, right: Decimal) -> Decimal:
    return plain(EXACT.subtract(left, right))


def multiply(left: Decimal, right: Decimal) -> Decimal:
    return plain(EXACT.multiply(left, right))


def as_text(number: Decimal) -> str:
    """A number in plain notation, never with an exponent."""
    return format(number, "f")
