"""Settling: contiguous ranges, items that sum to the rounded charge, ids that read back."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage_billing.billing.settlement import settle
from usage_billing.invoices.ids import invoice_id, item_id, last_item_id, parse_invoice_id
from usage_billing.invoices.model import InvoiceItem, InvoiceLine, line_of
from usage_billing.kernel.money import MINOR_UNIT_DIGITS
from usage_billing.pricing.terms import Terms
from usage_billing.pricing.unit import UnitPriced
from usage_billing.subscriptions.cycles import MonthlyCycle
from usage_billing.usage.events import UsageEvent
from usage_billing.usage.ledger import Head, LedgerKey

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
PERIOD = MonthlyCycle(1).period_of(NOW)
KEY = LedgerKey.of("sub-1", PERIOD, "assessment")
TERMS = Terms("business", Decimal(50), UnitPriced(Decimal("10.00")), "assessment", "USD")


def head(terms: Terms | None = TERMS) -> Head:
    return Head(key=KEY, user_id="user-1", period=PERIOD, terms=terms)


def used(current: Head, *quantities: str | Decimal) -> Head:
    for quantity in quantities:
        _, current = current.append(UsageEvent("e", "user-1", "sub-1", "assessment", Decimal(quantity)), NOW)
    return current


def test_an_item_names_everything_that_is_charged() -> None:
    settlement = settle(used(head(), "45", "15"), "run-1", NOW)
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
        used(head(), "45", "15"),
        billed_through=2,
        billed_quantity=Decimal(10),
        billed_amount=Decimal("100.00"),
        billed_items=1,
    )


@pytest.mark.parametrize(
    ("terms", "quantity"),
    [
        pytest.param(TERMS, "50", id="within the plan"),
        pytest.param(replace(TERMS, price=UnitPriced(Decimal(0))), "60", id="beyond it, at no price"),
    ],
)
def test_a_range_that_charges_nothing_is_settled_without_an_item(terms: Terms, quantity: str) -> None:
    settlement = settle(used(head(terms), quantity), "run-1", NOW)
    assert settlement.item is None
    assert settlement.after.is_settled
    assert line_of(settlement.after) is None


def test_the_next_item_begins_behind_the_watermark() -> None:
    first = settle(used(head(), "55"), "run-1", NOW)
    second = settle(used(first.after, "1", "1"), "run-2", NOW)
    assert (first.item.from_sequence, first.item.to_sequence, first.item.amount) == (1, 1, Decimal("50.00"))
    assert (second.item.from_sequence, second.item.to_sequence, second.item.amount) == (2, 3, Decimal("20.00"))


def test_fractions_of_a_cent_are_carried_to_the_item_that_completes_the_cent() -> None:
    current, amounts = head(replace(TERMS, included=Decimal(0), price=UnitPriced(Decimal("0.004")))), []
    for run in range(5):
        settlement = settle(used(current, "1"), f"run-{run}", NOW)
        amounts.append(str(settlement.item.amount))
        current = settlement.after
    assert amounts == ["0.00", "0.01", "0.00", "0.01", "0.00"]
    assert str(current.billed_amount) == "0.02"


def test_an_unrated_ledger_cannot_be_settled() -> None:
    with pytest.raises(ValueError, match="no terms"):
        settle(used(head(None), "1"), "run-1", NOW)


@pytest.mark.parametrize("current", [head(), settle(used(head(), "60"), "run-1", NOW).after], ids=["empty", "settled"])
def test_a_settled_ledger_cannot_be_settled_again(current: Head) -> None:
    with pytest.raises(ValueError, match="is settled"):
        settle(current, "run-2", NOW)


@given(
    runs=st.lists(st.lists(st.decimals("0.000000001", "1000", places=9), min_size=1, max_size=4), max_size=8),
    included=st.decimals("0", "2000", places=3),
    price=st.decimals("0", "20", places=9),
    currency=st.sampled_from(["USD", "JPY", "BHD", "CLF"]),
)
def test_items_are_disjoint_and_sum_to_the_rounded_charge_however_often_billing_runs(
    runs: list[list[Decimal]], included: Decimal, price: Decimal, currency: str
) -> None:
    current = head(Terms("p", included, UnitPriced(price), "unit", currency))
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


@given(st.integers(1, 10**15 - 2), st.integers(1, 10**15 - 2))
def test_item_ids_sort_by_the_range_they_charge(one: int, other: int) -> None:
    assert (item_id(KEY, one) < item_id(KEY, other)) == (one < other)
    assert item_id(KEY, one) < last_item_id(KEY)


@given(st.integers(1, 10**15 - 2))
def test_item_ids_of_a_ledger_lie_together(sequence: int) -> None:
    """Also beside usage types that begin alike, and other periods."""
    for period_start, usage_type in [(KEY.period_start, "assessment+x"), ("2026-12-01T00:00:00Z", "assessment")]:
        other = LedgerKey("sub-1", period_start, usage_type)
        assert last_item_id(KEY) < item_id(other, sequence)


@given(
    st.from_regex(r"\A[A-Za-z0-9._~:@|+=,-]{1,128}\Z"),
    st.datetimes(datetime(2000, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.integers(1, 31),
)
def test_an_invoice_id_reads_back_what_it_was_made_from(subscription_id: str, moment: datetime, anchor: int) -> None:
    key = MonthlyCycle(anchor).period_of(moment).key
    assert parse_invoice_id(invoice_id(subscription_id, key)) == (subscription_id, key)


@given(st.text() | st.from_regex(r"\A.{0,9}-[0-9TZ+:.-]{0,20}\Z"))
def test_an_invoice_id_that_nothing_was_made_from_is_none(text: str) -> None:
    parsed = parse_invoice_id(text)
    assert parsed is None or invoice_id(*parsed) == text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("sub-1", id="a subscription"),
        pytest.param("sub-1-", id="no period"),
        pytest.param("sub-1-20261101", id="a day"),
        pytest.param("sub-1-20261101T000000", id="no time zone"),
        pytest.param("sub-1-20261301T000000Z", id="month 13"),
        pytest.param("sub-1-20261101T00000Z", id="a digit too few"),
        pytest.param("sub-1-2026-11-01T00:00:00Z", id="not compact"),
        pytest.param("sub-1-20261101t000000Z", id="small letters"),
        pytest.param("sub-1-20261101T000000+0000", id="another way to write UTC"),
        pytest.param("sub-1-20261101T000000Z ", id="a space behind it"),
    ],
)
def test_what_is_nearly_an_invoice_id_is_none(text: str) -> None:
    assert parse_invoice_id(text) is None


def test_a_line_names_everything_that_its_items_charge() -> None:
    assert line_of(settle(used(head(), "45", "15"), "run-1", NOW).after) == InvoiceLine(
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
    assert line_of(used(head(None), "60")) is None


def test_the_last_item_id_of_a_ledger_has_the_largest_number() -> None:
    assert last_item_id(KEY) == "2026-11-01T00:00:00Z#assessment#999999999999999"
