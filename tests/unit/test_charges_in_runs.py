"""Settling a ledger of any price model: however its usage is cut into runs, the items sum to the same amount."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import NOW, TERMS, make_event, make_head
from tests.charges import charge_of, half_up
from tests.prices import SMALL_PRICES, numbers
from usage_billing.billing.settlement import settle
from usage_billing.invoices.model import InvoiceItem, line_of
from usage_billing.kernel.money import MINOR_UNIT_DIGITS
from usage_billing.pricing.model import PriceModel
from usage_billing.pricing.price_models import PRICE_MODELS
from usage_billing.pricing.terms import Terms
from usage_billing.pricing.tiers import Tier
from usage_billing.pricing.volume_price import Volume
from usage_billing.usage.ledger import Head

RUNS = st.lists(st.lists(numbers(30, smallest=Decimal("0.000000001")), min_size=1, max_size=4), min_size=1, max_size=6)


def settled(terms: Terms, runs: list[list[Decimal]]) -> tuple[Head, list[InvoiceItem]]:
    """The head and the items of a ledger that is settled after each of `runs`, which are quantities of events."""
    head, items = make_head(terms), []
    for number, quantities in enumerate(runs):
        for quantity in quantities:
            _, head = head.append(make_event(quantity=quantity), NOW)
        settlement = settle(head, f"run-{number}", NOW)
        head = settlement.after
        items += [settlement.item] if settlement.item else []
    return head, items


@given(
    price=SMALL_PRICES,
    included=numbers(20),
    maximum=st.none() | numbers(500),
    currency=st.sampled_from(["USD", "JPY", "BHD"]),
    runs=RUNS,
)
def test_the_sum_of_the_items_depends_on_the_total_alone(
    price: PriceModel, included: Decimal, maximum: Decimal | None, currency: str, runs: list[list[Decimal]]
) -> None:
    terms = replace(TERMS, price=price, included=included, maximum_charge=maximum, currency=currency)
    head, items = settled(terms, runs)
    total = sum(Fraction(quantity) for quantities in runs for quantity in quantities)
    stored = {"price": PRICE_MODELS.dumps(price), "maximum_charge": maximum}
    exact = charge_of(max(Fraction(0), total - Fraction(included)), stored)
    expected = half_up(exact, MINOR_UNIT_DIGITS[currency])
    assert sum(Fraction(item.amount) for item in items) == expected
    assert Fraction(head.billed_amount) == expected
    in_one_run = settled(terms, [[quantity for quantities in runs for quantity in quantities]])[1]
    assert sum(Fraction(item.amount) for item in in_one_run) == expected
    line = line_of(head)
    assert (line is None) == (not items)
    if line:
        assert (line.item_count, Fraction(line.amount)) == (len(items), expected)


@given(price=SMALL_PRICES.filter(lambda price: price.kind != "volume"), runs=RUNS)
def test_only_a_volume_price_gives_money_back(price: PriceModel, runs: list[list[Decimal]]) -> None:
    _, items = settled(replace(TERMS, price=price, included=Decimal(5)), runs)
    assert all(item.amount >= 0 for item in items)


CHEAPER_ABOVE_TEN = Volume((Tier(Decimal(10), Decimal(2)), Tier(None, Decimal("1.5"))))
FREE_ABOVE_TEN = Volume((Tier(Decimal(10), Decimal(2)), Tier(None, Decimal(0))))


@pytest.mark.parametrize(
    ("price", "runs", "amounts"),
    [
        pytest.param(CHEAPER_ABOVE_TEN, ["10", "1", "9"], ["20.00", "-3.50", "13.50"], id="a cheaper tier"),
        pytest.param(FREE_ABOVE_TEN, ["10", "1", "9"], ["20.00", "-20.00"], id="a free tier"),
    ],
)
def test_an_item_is_negative_where_a_volume_price_falls(price: Volume, runs: list[str], amounts: list[str]) -> None:
    head, items = settled(replace(TERMS, included=Decimal(0), price=price), [[Decimal(each)] for each in runs])
    assert [str(item.amount) for item in items] == amounts
    assert all(item.quantity > 0 for item in items)
    line = line_of(head)
    assert line
    assert (line.amount, line.quantity) == (sum(map(Decimal, amounts), Decimal(0)), Decimal(20))
    assert line.item_count == len(amounts)
