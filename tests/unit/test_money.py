"""Rounding to the minor unit of a currency."""

from decimal import Decimal, InvalidOperation

import pytest

from usage_billing.kernel.money import rounded


@pytest.mark.parametrize(
    ("exact", "currency", "expected"),
    [
        pytest.param("0.004999999999", "USD", "0.00", id="just below half a cent is rounded down"),
        pytest.param("0.005", "USD", "0.01", id="half a cent is rounded up"),
        pytest.param("0.015", "USD", "0.02", id="half is rounded up where rounding to even agrees"),
        pytest.param("0.025", "USD", "0.03", id="half is rounded up where rounding to even would round down"),
        pytest.param("1.005", "USD", "1.01", id="a value that a float would round down"),
        pytest.param("0.5", "JPY", "1", id="no minor unit: half a yen"),
        pytest.param("0.49", "JPY", "0", id="no minor unit: less than half a yen"),
        pytest.param("0.0005", "BHD", "0.001", id="three digits"),
        pytest.param("0.00005", "CLF", "0.0001", id="four digits"),
        pytest.param("12", "USD", "12.00", id="digits are added"),
        pytest.param("123456789012345678901234567890.125", "USD", "123456789012345678901234567890.13", id="huge"),
    ],
)
def test_money_is_rounded_half_up_to_the_minor_unit(exact: str, currency: str, expected: str) -> None:
    assert str(rounded(Decimal(exact), currency)) == expected


def test_money_has_at_most_a_hundred_digits() -> None:
    assert str(rounded(Decimal("9" * 98), "USD")) == "9" * 98 + ".00"
    with pytest.raises(InvalidOperation):
        rounded(Decimal("9" * 99), "USD")
