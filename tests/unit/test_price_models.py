"""Price models and billing cycles: what each promises, and how they are stored."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage_billing.kernel.kind_registry import Registry
from usage_billing.pricing.price_lines import PriceLine
from usage_billing.pricing.price_models import PRICE_MODELS, PriceModel
from usage_billing.pricing.terms import Terms
from usage_billing.pricing.unit_price import UnitPriced
from usage_billing.subscriptions.cycles import CYCLES, MonthlyCycle

AMOUNTS = st.decimals(min_value=0, max_value=10**12 - 1, places=9)
MODELS = st.builds(UnitPriced, AMOUNTS)


@given(MODELS, AMOUNTS)
def test_the_lines_of_a_price_model_sum_to_its_charge(model: PriceModel, quantity: Decimal) -> None:
    lines = model.lines(quantity)
    assert sum(Fraction(line.amount) for line in lines) == model.charge(quantity)
    assert sum(Fraction(line.quantity) for line in lines) == quantity


@given(MODELS)
def test_nothing_costs_nothing(model: PriceModel) -> None:
    assert model.charge(Decimal(0)) == 0
    assert model.lines(Decimal(0)) == ()


@given(MODELS)
def test_a_price_model_is_read_as_it_was_written(model: PriceModel) -> None:
    assert PRICE_MODELS.loads(PRICE_MODELS.dumps(model)) == model


def test_a_price_per_unit_is_written_with_its_name() -> None:
    assert PRICE_MODELS.dumps(UnitPriced(Decimal("0.10"))) == '{"kind":"unit","unitPrice":0.10}'


def test_a_price_per_unit_charges_one_line() -> None:
    assert UnitPriced(Decimal("0.5")).lines(Decimal(3)) == (PriceLine(Decimal(3), Decimal("0.5")),)


def test_terms_charge_only_what_lies_beyond_the_included_units() -> None:
    terms = Terms("business", Decimal(50), UnitPriced(Decimal(10)), "report", "USD")
    assert terms.lines(terms.overage(Decimal(50))) == ()
    assert terms.lines(terms.overage(Decimal(52))) == (PriceLine(Decimal(2), Decimal(10)),)


@pytest.mark.parametrize("day", [1, 28, 31])
def test_a_cycle_is_read_as_it_was_written(day: int) -> None:
    assert CYCLES.loads(CYCLES.dumps(MonthlyCycle(day))) == MonthlyCycle(day)


def test_a_monthly_cycle_is_written_with_its_name() -> None:
    assert CYCLES.dumps(MonthlyCycle(31)) == '{"kind":"monthly","anchorDay":31}'


@pytest.mark.parametrize("registry", [PRICE_MODELS, CYCLES], ids=["price models", "cycles"])
def test_a_kind_that_nobody_knows_says_so(registry: Registry[PriceModel]) -> None:
    with pytest.raises(ValueError, match="unknown kind 'barter'"):
        registry.loads('{"kind":"barter"}')
