"""Exact arithmetic with decimal numbers, and their text form."""

from decimal import Decimal, Inexact, InvalidOperation

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage_billing.kernel import numbers as kernel_numbers
from usage_billing.kernel.numbers import add, as_text, canonical, multiply, subtract

EXACT_NUMBERS = st.decimals("-999999999999", "999999999999", places=9)


@given(EXACT_NUMBERS, EXACT_NUMBERS)
def test_sums_and_products_are_exact(left: Decimal, right: Decimal) -> None:
    billionths = int(left.scaleb(9)), int(right.scaleb(9))
    assert add(left, right) == kernel_numbers.EXACT.divide(Decimal(sum(billionths)), Decimal(10**9))
    assert add(subtract(left, right), right) == left
    assert multiply(left, right) == kernel_numbers.EXACT.divide(Decimal(billionths[0] * billionths[1]), Decimal(10**18))


def test_an_inexact_result_raises_an_error_and_is_not_rounded() -> None:
    with pytest.raises(Inexact):
        add(Decimal("1e60"), Decimal("1e-60"))
    with pytest.raises(InvalidOperation):
        kernel_numbers.EXACT.divide(Decimal(0), Decimal(0))


def test_exact_arithmetic_has_a_hundred_digits() -> None:
    assert as_text(add(Decimal("9" * 99), Decimal(1))) == "1" + "0" * 99
    with pytest.raises(Inexact):
        add(Decimal("9" * 100), Decimal(2))


@given(EXACT_NUMBERS | st.integers(-(10**12), 10**12).map(Decimal) | st.sampled_from([Decimal("1E+5"), Decimal("-0")]))
def test_plain_is_the_same_number_without_trailing_zeros_or_exponent(number: Decimal) -> None:
    text = as_text(canonical(number))
    assert Decimal(text) == canonical(number) == number
    assert "E" not in text
    assert not ("." in text and text.endswith("0"))
    exponent = canonical(number).as_tuple().exponent
    assert isinstance(exponent, int)
    assert exponent <= 0


def test_plain_has_as_many_digits_as_exact_arithmetic() -> None:
    assert as_text(canonical(Decimal("1E+99"))) == "1" + "0" * 99
