"""Terms: the billable quantity and the charge of a ledger's total."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import make_terms
from tests.charges import charge_of, half_up
from tests.prices import SMALL_PRICES, numbers
from usage_billing.kernel.money import MINOR_UNIT_DIGITS
from usage_billing.pricing.model import PriceModel
from usage_billing.pricing.price_lines import LineKind, PriceLine
from usage_billing.pricing.price_models import PRICE_MODELS
from usage_billing.pricing.terms import WHOLE, prorated, prorated_money

SHARES = st.fractions(0, 1).filter(bool)


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


# --- Minimum and maximum ---


@pytest.mark.parametrize(
    ("charged", "closed_share", "charge"),
    [
        pytest.param(0, None, "0", id="nothing used, and open: the minimum does not hold yet"),
        pytest.param(0, WHOLE, "30", id="nothing used, and closed: the minimum"),
        pytest.param(2, WHOLE, "30", id="less than the minimum, and closed"),
        pytest.param(2, Fraction(1, 2), "20", id="closed after half a period: half the minimum is less than the price"),
        pytest.param(1, Fraction(1, 2), "15", id="closed after half a period: half the minimum"),
        pytest.param(3, WHOLE, "30", id="exactly the minimum"),
        pytest.param(10, None, "100", id="exactly the maximum"),
        pytest.param(11, None, "100", id="more than the maximum, while open"),
        pytest.param(11, WHOLE, "100", id="more than the maximum, and closed"),
    ],
)
def test_the_maximum_holds_at_all_times_and_the_minimum_once_closed(
    charged: int, closed_share: Fraction | None, charge: str
) -> None:
    terms = make_terms(minimum_charge=30, maximum_charge=100)
    assert terms.charge(Decimal(charged), closed_share) == Decimal(charge)


@pytest.mark.parametrize(
    ("charged", "closed_share", "last"),
    [
        pytest.param(5, WHOLE, PriceLine(Decimal(5), Decimal(10)), id="between the two"),
        pytest.param(
            2, WHOLE, PriceLine(Decimal(0), Decimal(0), Decimal(10), LineKind.MINIMUM), id="up to the minimum"
        ),
        pytest.param(
            2, Fraction(67, 100), PriceLine(Decimal(0), Decimal(0), Decimal("0.1"), LineKind.MINIMUM), id="by a little"
        ),
        pytest.param(
            12, None, PriceLine(Decimal(0), Decimal(0), Decimal(-20), LineKind.MAXIMUM), id="down to the maximum"
        ),
    ],
)
def test_the_minimum_and_the_maximum_are_lines_of_their_own(
    charged: int, closed_share: Fraction | None, last: PriceLine
) -> None:
    lines = make_terms(minimum_charge=30, maximum_charge=100).lines(Decimal(charged), closed_share)
    assert lines[0] == PriceLine(Decimal(charged), Decimal(10))
    assert lines[-1] == last
    assert len(lines) == (1 if last.kind is LineKind.USAGE else 2)


@given(
    price=SMALL_PRICES,
    charged=numbers(100),
    limits=st.lists(st.none() | numbers(500), min_size=2, max_size=2),
    closed_share=st.none() | SHARES,
    currency=st.sampled_from(["USD", "JPY", "BHD", "CLF"]),
)
def test_the_lines_of_every_model_sum_to_the_charge_between_minimum_and_maximum(
    price: PriceModel, charged: Decimal, limits: list[Decimal | None], closed_share: Fraction | None, currency: str
) -> None:
    low, high = limits
    if low is not None and high is not None:
        low, high = sorted([low, high])
    terms = make_terms(price=price, minimum_charge=low, maximum_charge=high, currency=currency)
    stored = {"price": PRICE_MODELS.dumps(price), "minimum_charge": low, "maximum_charge": high}
    exact = charge_of(Fraction(charged), stored, closed_share)
    assert Fraction(terms.charge(charged, closed_share)) == exact
    assert sum(Fraction(line.amount) for line in terms.lines(charged, closed_share)) == exact
    assert Fraction(terms.amount(charged, closed_share)) == half_up(exact, MINOR_UNIT_DIGITS[currency])


# --- Proration ---


@pytest.mark.parametrize(
    ("number", "share", "expected"),
    [
        pytest.param("50", "1/2", "25", id="half"),
        pytest.param("50", "1/3", "16", id="a whole number stays whole, rounded down"),
        pytest.param("50.5", "1/3", "16.833333333", id="others have up to nine digits, rounded down"),
        pytest.param("50", "1", "50", id="all of it"),
        pytest.param("0", "1/3", "0", id="nothing"),
        pytest.param("999999999999.999999999", "1/3", "333333333333.333333333", id="the largest number"),
    ],
)
def test_included_units_are_prorated_in_favor_of_whole_units(number: str, share: str, expected: str) -> None:
    assert str(prorated(Decimal(number), Fraction(share))) == expected


@given(numbers(), SHARES)
def test_a_prorated_number_is_less_than_a_step_below_the_exact_share(number: Decimal, share: Fraction) -> None:
    exact = Fraction(number) * share
    step = Fraction(1) if number == number.to_integral_value() else Fraction(1, 10**9)
    assert 0 <= exact - Fraction(prorated(number, share)) < step
    assert 0 <= exact - Fraction(prorated_money(number, share)) < Fraction(1, 10**9)


def test_money_is_prorated_below_the_whole_unit() -> None:
    assert prorated_money(Decimal(5), Fraction(1, 2)) == Decimal("2.5")
    assert prorated_money(Decimal(5), WHOLE) == 5
