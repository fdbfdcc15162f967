"""Settling a ledger: contiguous ranges, and items that sum to the rounded charge."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import NOW, PERIOD, TERMS, make_event, make_head, make_terms
from usage_billing.billing.settlement import settle
from usage_billing.invoices.model import InvoiceItem, InvoiceLine, line_of
from usage_billing.kernel.money import MINOR_UNIT_DIGITS
from usage_billing.pricing.terms import Terms
from usage_billing.pricing.unit_price import UnitPriced
from usage_billing.usage.ledger import Head


def used(current: Head, *quantities: str | Decimal) -> Head:
    """The head after entries with these quantities."""
    for quantity in quantities:
        _, current = current.append(make_event(quantity=quantity), NOW)
    return current


def test_an_item_has_the_charged_range_quantity_and_amount() -> None:
    settlement = settle(used(make_head(), "45", "15"), "run-1", NOW)
    assert settlement.item == InvoiceItem(
        invoice_id="sub-1-20261101T000000Z",
        item_id="2026-11-01T00:00:00Z#assessment#000000000000002",
        usage_type="assessment",
        period=PERIOD,
        description="10 x assessment beyond the 50 included",
        quantity=Decimal(10),
        unit_price=Decimal("10.00"),
        amount=Decimal("100.00"),
        currency="USD",
        from_sequence=1,
        to_sequence=2,
        run_id="run-1",
        created_at=NOW,
    )
    assert settlement.after == replace(
        used(make_head(), "45", "15"),
        billed_through=2,
        billed_quantity=Decimal(10),
        billed_amount=Decimal("100.00"),
        billed_items=1,
    )


@pytest.mark.parametrize(
    ("terms", "quantity"),
    [
        pytest.param(TERMS, "50", id="within the included units"),
        pytest.param(replace(TERMS, price=UnitPriced(Decimal(0))), "60", id="overage without a price"),
    ],
)
def test_a_range_without_a_charge_is_settled_without_an_item(terms: Terms, quantity: str) -> None:
    settlement = settle(used(make_head(terms), quantity), "run-1", NOW)
    assert settlement.item is None
    assert settlement.after.is_settled
    assert line_of(settlement.after) is None


def test_the_next_item_starts_after_the_watermark() -> None:
    first = settle(used(make_head(), "55"), "run-1", NOW)
    second = settle(used(first.after, "1", "1"), "run-2", NOW)
    assert first.item
    assert second.item
    assert (first.item.from_sequence, first.item.to_sequence, first.item.amount) == (1, 1, Decimal("50.00"))
    assert (second.item.from_sequence, second.item.to_sequence, second.item.amount) == (2, 3, Decimal("20.00"))


def test_fractions_of_a_cent_are_carried_over_to_the_next_items() -> None:
    current, amounts = make_head(replace(TERMS, included=Decimal(0), price=UnitPriced(Decimal("0.004")))), []
    for run in range(5):
        settlement = settle(used(current, "1"), f"run-{run}", NOW)
        assert settlement.item
        amounts.append(str(settlement.item.amount))
        current = settlement.after
    assert amounts == ["0.00", "0.01", "0.00", "0.01", "0.00"]
    assert str(current.billed_amount) == "0.02"


def test_an_unrated_ledger_cannot_be_settled() -> None:
    with pytest.raises(ValueError, match="no terms"):
        settle(used(make_head(None), "1"), "run-1", NOW)


@pytest.mark.parametrize(
    "current", [make_head(), settle(used(make_head(), "60"), "run-1", NOW).after], ids=["empty", "settled"]
)
def test_a_settled_ledger_cannot_be_settled_again(current: Head) -> None:
    with pytest.raises(ValueError, match="is already settled"):
        settle(current, "run-2", NOW)


@given(
    runs=st.lists(st.lists(st.decimals("0.000000001", "1000", places=9), min_size=1, max_size=4), max_size=8),
    included=st.decimals("0", "2000", places=3),
    price=st.decimals("0", "20", places=9),
    currency=st.sampled_from(["USD", "JPY", "BHD", "CLF"]),
)
def test_items_never_overlap_and_sum_to_the_rounded_charge_after_any_number_of_runs(
    runs: list[list[Decimal]], included: Decimal, price: Decimal, currency: str
) -> None:
    current = make_head(make_terms(included, price, currency))
    charged, billed, settled_to, items = Fraction(0), Fraction(0), 0, 0
    for number, quantities in enumerate(runs):
        before = current
        current = used(current, *quantities)
        settlement = settle(current, f"run-{number}", NOW)
        current, item = settlement.after, settlement.item
        beyond = max(Fraction(0), Fraction(current.used) - Fraction(included))
        if item is None:
            assert beyond * Fraction(price) == max(Fraction(0), Fraction(before.used) - Fraction(included)) * Fraction(
                price
            )
        else:
            assert item.amount >= 0
            assert item.from_sequence == settled_to + 1
            assert item.to_sequence == current.last_sequence
            charged += Fraction(item.amount)
            billed += Fraction(item.quantity)
            items += 1
        settled_to = current.billed_through
        assert current.is_settled
        scale = 10 ** MINOR_UNIT_DIGITS[currency]
        exact = beyond * Fraction(price) * scale
        assert charged == Fraction((2 * exact.numerator + exact.denominator) // (2 * exact.denominator), scale)
        assert charged == Fraction(current.billed_amount)
        assert Fraction(current.billed_quantity) == beyond
        assert billed == (beyond if price else 0)
        line = line_of(current)
        assert (line is None) == (items == 0)
        if line:
            assert (line.item_count, Fraction(line.amount), Fraction(line.quantity)) == (items, charged, billed)


def test_a_line_has_the_sums_of_its_items() -> None:
    assert line_of(settle(used(make_head(), "45", "15"), "run-1", NOW).after) == InvoiceLine(
        usage_type="assessment",
        period=PERIOD,
        quantity=Decimal(10),
        unit_name="assessment",
        unit_price=Decimal("10.00"),
        amount=Decimal("100.00"),
        currency="USD",
        item_count=1,
    )


def test_an_unrated_ledger_has_no_line() -> None:
    assert line_of(used(make_head(None), "60")) is None
