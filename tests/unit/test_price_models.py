"""Price models and billing cycles: what each promises, and how they are stored."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from tests.charges import CHARGES, price_of
from tests.prices import LARGEST, MODELS, POSITIVE, PRICES, RISING_PRICES, SMALL_PRICES, numbers
from usage_billing.kernel.exact_json import dumps, loads
from usage_billing.kernel.kind_registry import Registry
from usage_billing.pricing.api import Price
from usage_billing.pricing.graduated_price import Graduated
from usage_billing.pricing.model import PriceFields, PriceModel
from usage_billing.pricing.package_price import Packaged
from usage_billing.pricing.price_lines import PriceLine
from usage_billing.pricing.price_models import PRICE_MODELS, per_unit
from usage_billing.pricing.terms import Terms
from usage_billing.pricing.tiers import Tier
from usage_billing.pricing.unit_price import UnitPriced
from usage_billing.pricing.volume_price import Volume
from usage_billing.subscriptions.cycles import CYCLES, MonthlyCycle

PRICE: TypeAdapter[PriceFields] = TypeAdapter(Price)
QUANTITIES = numbers(LARGEST * 1000)
SMALL_QUANTITIES = numbers(100)


def line(quantity: int | str, unit_price: int | str, flat_fee: int | str = 0, size: int | None = None) -> PriceLine:
    package_size = None if size is None else Decimal(size)
    return PriceLine(Decimal(quantity), Decimal(unit_price), Decimal(flat_fee), package_size=package_size)


def tiers(*of: tuple[int | None, str, int]) -> tuple[Tier, ...]:
    return tuple(
        Tier(None if up_to is None else Decimal(up_to), Decimal(price), Decimal(fee)) for up_to, price, fee in of
    )


TIERS = tiers((10, "2", 0), (20, "1.5", 5), (None, "0.5", 7))


# --- Every price model ---


def test_every_price_model_has_a_strategy_and_an_independent_computation() -> None:
    assert set(PRICE_MODELS.kinds) == set(MODELS) == set(CHARGES)


@given(PRICES | SMALL_PRICES, QUANTITIES | SMALL_QUANTITIES)
def test_a_charge_is_exact_and_the_lines_sum_to_it(model: PriceModel, quantity: Decimal) -> None:
    exact = price_of(Fraction(quantity), PRICE_MODELS.dumps(model))
    assert Fraction(model.charge(quantity)) == exact
    assert sum(Fraction(line.amount) for line in model.lines(quantity)) == exact


@given(PRICES | SMALL_PRICES, QUANTITIES | SMALL_QUANTITIES)
def test_a_line_is_its_quantity_times_its_price_plus_its_fee(model: PriceModel, quantity: Decimal) -> None:
    for each in model.lines(quantity):
        assert Fraction(each.amount) == Fraction(each.quantity) * Fraction(each.unit_price) + Fraction(each.flat_fee)
        assert each.quantity > 0


@given(PRICES)
def test_nothing_costs_nothing(model: PriceModel) -> None:
    assert model.charge(Decimal(0)) == 0
    assert model.lines(Decimal(0)) == ()


@given(PRICES)
def test_a_price_is_read_as_it_was_written(model: PriceModel) -> None:
    assert PRICE_MODELS.loads(PRICE_MODELS.dumps(model)) == model


@given(PRICES, st.sampled_from(["USD", "JPY", "BHD"]))
def test_a_price_in_a_response_can_be_sent_in_a_request(model: PriceModel, currency: str) -> None:
    sent = loads(dumps(PRICE.dump_python(model.shown(currency))))
    assert sent["model"] == model.kind
    assert PRICE.validate_python(sent).price() == model


@given(RISING_PRICES, SMALL_QUANTITIES, SMALL_QUANTITIES)
def test_a_charge_never_falls_while_the_quantity_grows(model: PriceModel, quantity: Decimal, more: Decimal) -> None:
    assert model.charge(quantity) <= model.charge(quantity + more)


def test_the_charge_of_a_volume_price_may_fall() -> None:
    model = Volume(TIERS)
    assert (model.charge(Decimal(20)), model.charge(Decimal(21))) == (Decimal(35), Decimal("17.5"))


@given(PRICES)
def test_bounds_grow_and_lie_above_zero(model: PriceModel) -> None:
    assert all(low < high for low, high in zip((Decimal(0), *model.bounds), model.bounds, strict=False))


# --- Each of them ---


@pytest.mark.parametrize(
    ("model", "stored"),
    [
        pytest.param(UnitPriced(Decimal("0.10")), '{"kind":"unit","unitPrice":0.10}', id="unit"),
        pytest.param(Graduated(TIERS), '{"kind":"graduated","tiers":[[10,2],[20,1.5,5],[null,0.5,7]]}', id="graduated"),
        pytest.param(Volume(TIERS), '{"kind":"volume","tiers":[[10,2],[20,1.5,5],[null,0.5,7]]}', id="volume"),
        pytest.param(Packaged(Decimal(1000), Decimal(5)), '{"kind":"package","size":1000,"price":5}', id="package"),
    ],
)
def test_a_price_is_stored_with_its_kind_and_in_few_bytes(model: PriceModel, stored: str) -> None:
    assert PRICE_MODELS.dumps(model) == stored


@pytest.mark.parametrize(
    ("model", "currency", "shown"),
    [
        pytest.param(
            UnitPriced(Decimal("0.125")), "USD", {"model": "unit", "unitPrice": "0.125"}, id="more digits than cents"
        ),
        pytest.param(
            Packaged(Decimal(1000), Decimal(5)),
            "BHD",
            {"model": "package", "packageSize": 1000, "packagePrice": "5.000"},
            id="three digits",
        ),
        pytest.param(
            Volume(TIERS[1:]),
            "USD",
            {
                "model": "volume",
                "tiers": [
                    {"upTo": 20, "unitPrice": "1.50", "flatFee": "5.00"},
                    {"upTo": None, "unitPrice": "0.50", "flatFee": "7.00"},
                ],
            },
            id="tiers",
        ),
        pytest.param(
            Graduated((Tier(None, Decimal(3)),)),
            "JPY",
            {"model": "graduated", "tiers": [{"upTo": None, "unitPrice": "3", "flatFee": "0"}]},
            id="no digits",
        ),
    ],
)
def test_a_price_is_shown_with_the_digits_of_its_currency(
    model: PriceModel, currency: str, shown: dict[str, Any]
) -> None:
    assert PRICE.dump_python(model.shown(currency)) == shown


def test_a_price_per_unit_charges_one_line() -> None:
    assert UnitPriced(Decimal("0.5")).lines(Decimal(3)) == (line(3, "0.5"),)
    assert per_unit(Decimal("0.5")) == UnitPriced(Decimal("0.5"))
    assert UnitPriced(Decimal("0.5")).bounds == ()


@pytest.mark.parametrize(
    ("quantity", "lines"),
    [
        pytest.param("0.5", [line("0.5", 2)], id="a part of the first tier"),
        pytest.param("10", [line(10, 2)], id="exactly the first tier: its bound is inclusive"),
        pytest.param("10.000000001", [line(10, 2), line("0.000000001", "1.5", 5)], id="hardly into the second"),
        pytest.param("20", [line(10, 2), line(10, "1.5", 5)], id="exactly two tiers"),
        pytest.param("25", [line(10, 2), line(10, "1.5", 5), line(5, "0.5", 7)], id="into the last tier"),
    ],
)
def test_a_graduated_price_prices_each_part_by_its_own_tier(quantity: str, lines: list[PriceLine]) -> None:
    assert Graduated(TIERS).lines(Decimal(quantity)) == tuple(lines)
    assert Graduated(TIERS).bounds == (Decimal(10), Decimal(20))


@given(MODELS["graduated"], QUANTITIES)
def test_the_lines_of_a_graduated_price_contain_all_of_the_quantity(model: PriceModel, quantity: Decimal) -> None:
    assert sum(Fraction(each.quantity) for each in model.lines(quantity)) == Fraction(quantity)


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        pytest.param("0.5", line("0.5", 2), id="the first tier"),
        pytest.param("10", line(10, 2), id="its bound is inclusive"),
        pytest.param("10.000000001", line("10.000000001", "1.5", 5), id="hardly in the second"),
        pytest.param("20", line(20, "1.5", 5), id="the bound of the second"),
        pytest.param("25", line(25, "0.5", 7), id="the last tier"),
    ],
)
def test_a_volume_price_prices_all_of_the_quantity_by_one_tier(quantity: str, expected: PriceLine) -> None:
    assert Volume(TIERS).lines(Decimal(quantity)) == (expected,)
    assert Volume(TIERS).bounds == (Decimal(10), Decimal(20))


@pytest.mark.parametrize(
    ("quantity", "packages"),
    [
        pytest.param("0.000000001", 1, id="the smallest quantity"),
        pytest.param("999.999999999", 1, id="nearly a package"),
        pytest.param("1000", 1, id="exactly a package"),
        pytest.param("1000.000000001", 2, id="hardly a second one"),
        pytest.param("999999999999999", 10**12, id="a huge quantity"),
    ],
)
def test_a_package_is_charged_once_it_is_started(quantity: str, packages: int) -> None:
    model = Packaged(Decimal(1000), Decimal("4.99"))
    assert model.lines(Decimal(quantity)) == (line(packages, "4.99", size=1000),)
    assert model.charge(Decimal(quantity)) == packages * Decimal("4.99")
    assert model.bounds == (Decimal(1000),)


@given(numbers(smallest=POSITIVE), QUANTITIES.filter(bool))
def test_the_packages_hold_the_quantity_and_one_less_would_not(size: Decimal, quantity: Decimal) -> None:
    [only] = Packaged(size, Decimal(1)).lines(quantity)
    packages = Fraction(only.quantity)
    assert (packages - 1) * Fraction(size) < Fraction(quantity) <= packages * Fraction(size)


def test_terms_charge_only_what_lies_beyond_the_included_units() -> None:
    terms = Terms("business", Decimal(50), UnitPriced(Decimal(10)), "report", "USD")
    assert terms.lines(terms.overage(Decimal(50))) == ()
    assert terms.lines(terms.overage(Decimal(52))) == (line(2, 10),)


# --- The registries ---


@pytest.mark.parametrize("day", [1, 28, 31])
def test_a_cycle_is_read_as_it_was_written(day: int) -> None:
    assert CYCLES.loads(CYCLES.dumps(MonthlyCycle(day))) == MonthlyCycle(day)


def test_a_monthly_cycle_is_written_with_its_name() -> None:
    assert CYCLES.dumps(MonthlyCycle(31)) == '{"kind":"monthly","anchorDay":31}'


@pytest.mark.parametrize("registry", [PRICE_MODELS, CYCLES], ids=["price models", "cycles"])
def test_a_kind_that_nobody_knows_says_so(registry: Registry[PriceModel]) -> None:
    with pytest.raises(ValueError, match="unknown kind 'barter'"):
        registry.loads('{"kind":"barter"}')
