"""What a quantity costs: the included units, the first one beyond them, rounding, currencies."""

from decimal import Decimal, InvalidOperation
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from usage_billing.kernel.money import MINOR_UNIT_DIGITS, in_minor_units, rounded
from usage_billing.kernel.numbers import as_text
from usage_billing.plans import model
from usage_billing.plans.api import Quota, QuotaTerms
from usage_billing.pricing.terms import Terms
from usage_billing.pricing.unit import UnitPriced


def terms(included: str = "50", price: str = "10.00", currency: str = "USD") -> Terms:
    return Terms("business", Decimal(included), UnitPriced(Decimal(price)), "assessment", currency)


@pytest.mark.parametrize(
    ("used", "billable", "charge"),
    [
        pytest.param("0", "0", "0.00", id="nothing used"),
        pytest.param("49.999999999", "0", "0.00", id="just below the included units"),
        pytest.param("50", "0", "0.00", id="exactly the included units"),
        pytest.param("50.000000001", "0.000000001", "0.00", id="the smallest fraction beyond them"),
        pytest.param("50.0005", "0.0005", "0.01", id="half a cent beyond them"),
        pytest.param("51", "1", "10.00", id="first unit beyond them"),
        pytest.param("52.5", "2.5", "25.00", id="a fractional quantity"),
        pytest.param("999999999999", "999999999949", "9999999999490.00", id="the largest quantity"),
    ],
)
def test_only_what_lies_beyond_the_included_units_is_charged(used: str, billable: str, charge: str) -> None:
    assert terms().billable(Decimal(used)) == Decimal(billable)
    assert str(terms().amount(Decimal(used))) == charge


def test_a_plan_that_includes_nothing_charges_from_the_first_unit() -> None:
    assert terms(included="0").amount(Decimal(1)) == Decimal("10.00")


def test_a_price_of_zero_charges_nothing() -> None:
    assert str(terms(price="0").amount(Decimal(10**11))) == "0.00"


@pytest.mark.parametrize(
    ("exact", "currency", "expected"),
    [
        pytest.param("0.004999999999", "USD", "0.00", id="just below half a cent goes down"),
        pytest.param("0.005", "USD", "0.01", id="half a cent goes up"),
        pytest.param("0.015", "USD", "0.02", id="half goes up, not to the even neighbor below"),
        pytest.param("0.025", "USD", "0.03", id="half goes up, not to the even neighbor"),
        pytest.param("1.005", "USD", "1.01", id="what a float would round down"),
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


@given(st.decimals("0", "999999999999", places=9), st.decimals("0", "999999999999", places=9))
def test_the_charge_is_exact_for_every_quantity_and_price(used: Decimal, price: Decimal) -> None:
    charge = Terms("p", Decimal(0), UnitPriced(price), "unit", "USD").charge(used)
    assert Fraction(charge) == Fraction(used) * Fraction(price)


@given(
    st.decimals("0", "1000", places=9),
    st.decimals("0", "1000", places=9),
    st.decimals("0", "100", places=9),
    st.sampled_from(["USD", "JPY", "BHD", "CLF"]),
)
def test_the_charge_never_falls_and_never_strays_more_than_half_a_minor_unit(
    used: Decimal, more: Decimal, price: Decimal, currency: str
) -> None:
    plan = terms("50", str(price), currency)
    assert plan.amount(used) <= plan.amount(used + more)
    assert abs(plan.amount(used) - plan.charge(used)) <= Decimal("0.5").scaleb(-MINOR_UNIT_DIGITS[currency])


@pytest.mark.parametrize(
    ("price", "currency", "shown"),
    [
        pytest.param("10", "USD", "10.00", id="cents are added"),
        pytest.param("0.5", "USD", "0.50", id="a cent digit is added"),
        pytest.param("0.125", "USD", "0.125", id="a price below the cent stays exact"),
        pytest.param("0.000000001", "USD", "0.000000001", id="the smallest price"),
        pytest.param("100", "JPY", "100", id="no minor unit"),
        pytest.param("0.5", "JPY", "0.5", id="a fraction of a yen stays exact"),
        pytest.param("1", "BHD", "1.000", id="three digits"),
    ],
)
def test_prices_show_at_least_the_minor_unit_and_are_never_rounded(price: str, currency: str, shown: str) -> None:
    assert as_text(in_minor_units(Decimal(price), currency)) == shown
    stored = model.Quota(
        plan_id="p",
        usage_type="t",
        monthly_limit=Decimal(1),
        price=UnitPriced(Decimal(price)),
        unit_name="unit",
        currency=currency,
    )
    quota = Quota.of(stored)
    assert quota.unit_price
    assert as_text(quota.unit_price) == quota.model_dump()["unit_price"] == shown


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("unit_price", "-0.01", id="negative price"),
        pytest.param("unit_price", "ten", id="price that is no number"),
        pytest.param("unit_price", "NaN", id="price NaN"),
        pytest.param("unit_price", "Infinity", id="infinite price"),
        pytest.param("unit_price", "0.0000000001", id="ten decimal places"),
        pytest.param("unit_price", "1000000000000", id="thirteen digits"),
        pytest.param("unit_price", "\uff11", id="digits of another alphabet"),
        pytest.param("unit_price", True, id="true is no price"),
        pytest.param("monthly_limit", -1, id="negative limit"),
        pytest.param("monthly_limit", "50", id="limit as text"),
        pytest.param("unit_name", "", id="no unit name"),
        pytest.param("unit_name", "a\nb", id="unit name of two lines"),
        pytest.param("currency", "usd", id="currency in small letters"),
        pytest.param("currency", "XXX", id="no currency"),
        pytest.param("plan_id", "a/b", id="plan that does not fit into a path"),
        pytest.param("color", "red", id="unknown field"),
    ],
)
def test_a_quota_refuses(field: str, value: object) -> None:
    good = {"plan_id": "p", "usage_type": "t", "monthly_limit": 1, "unit_price": "1", "unit_name": "u"}
    assert QuotaTerms.model_validate(good, by_alias=False, by_name=True)
    with pytest.raises(ValidationError) as refused:
        QuotaTerms.model_validate(good | {field: value}, by_alias=False, by_name=True)
    assert len(refused.value.errors()) == 1


def test_terms_are_the_quota_without_what_may_change() -> None:
    quota = model.Quota("p", "t", Decimal(5), UnitPriced(Decimal("0.5")), "u", "EUR")
    assert quota.terms == Terms("p", Decimal(5), UnitPriced(Decimal("0.50")), "u", "EUR")


def test_a_quota_in_no_currency_says_so() -> None:
    with pytest.raises(ValidationError, match="must be an ISO 4217 currency code such as USD"):
        Quota(plan_id="p", usage_type="t", monthly_limit=1, unit_price="1", unit_name="u", currency="XXX")


def test_money_has_at_most_a_hundred_digits() -> None:
    assert str(rounded(Decimal("9" * 98), "USD")) == "9" * 98 + ".00"
    with pytest.raises(InvalidOperation):
        rounded(Decimal("9" * 99), "USD")
