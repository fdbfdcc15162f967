"""Terms: the billable quantity and the charge of a ledger's total."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import make_terms
from usage_billing.kernel.money import MINOR_UNIT_DIGITS


@pytest.mark.parametrize(
    ("used", "billable", "charge"),
    [
        pytest.param("0", "0", "0.00", id="nothing used"),
        pytest.param("49.999999999", "0", "0.00", id="just below the included units"),
        pytest.param("50", "0", "0.00", id="exactly the included units"),
        pytest.param("50.000000001", "0.000000001", "0.00", id="the smallest fraction beyond them"),
        pytest.param("50.0005", "0.0005", "0.01", id="half a cent beyond them"),
        pytest.param("51", "1", "10.00", id="the first unit beyond them"),
        pytest.param("52.5", "2.5", "25.00", id="a fractional quantity"),
        pytest.param("999999999999", "999999999949", "9999999999490.00", id="the largest quantity"),
    ],
)
def test_only_units_beyond_the_included_ones_are_charged(used: str, billable: str, charge: str) -> None:
    assert make_terms().overage(Decimal(used)) == Decimal(billable)
    assert str(make_terms().amount(Decimal(billable))) == charge


def test_a_plan_that_includes_nothing_charges_from_the_first_unit() -> None:
    assert make_terms(included=0).overage(Decimal(1)) == Decimal(1)


def test_a_price_of_zero_charges_nothing() -> None:
    assert str(make_terms(unit_price=0).amount(Decimal(10**11))) == "0.00"


@given(st.decimals("0", "999999999999", places=9), st.decimals("0", "999999999999", places=9))
def test_the_charge_is_exact_for_every_quantity_and_price(used: Decimal, price: Decimal) -> None:
    charge = make_terms(unit_price=price).charge(used)
    assert Fraction(charge) == Fraction(used) * Fraction(price)


@given(
    st.decimals("0", "1000", places=9),
    st.decimals("0", "1000", places=9),
    st.decimals("0", "100", places=9),
    st.sampled_from(["USD", "JPY", "BHD", "CLF"]),
)
def test_the_rounded_charge_never_falls_and_is_off_by_at_most_half_a_minor_unit(
    used: Decimal, more: Decimal, price: Decimal, currency: str
) -> None:
    terms = make_terms(unit_price=price, currency=currency)
    assert terms.amount(used) <= terms.amount(used + more)
    assert abs(terms.amount(used) - terms.charge(used)) <= Decimal("0.5").scaleb(-MINOR_UNIT_DIGITS[currency])
