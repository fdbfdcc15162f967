"""The ids of invoices and invoice items."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import KEY
from usage_billing.invoices.ids import invoice_id, item_id, last_item_id, parse_invoice_id
from usage_billing.subscriptions.cycles import MonthlyCycle
from usage_billing.usage.ledger import LedgerKey


@given(st.integers(1, 10**15 - 2), st.integers(1, 10**15 - 2))
def test_item_ids_sort_by_the_last_sequence_that_they_charge(one: int, other: int) -> None:
    assert (item_id(KEY, one) < item_id(KEY, other)) == (one < other)
    assert item_id(KEY, one) < last_item_id(KEY)


@given(st.integers(1, 10**15 - 2))
def test_item_ids_of_a_ledger_sort_next_to_each_other(sequence: int) -> None:
    """No id of a usage type with the same beginning, or of another period, sorts between them."""
    for period_start, usage_type in [(KEY.period_start, "assessment+x"), ("2026-12-01T00:00:00Z", "assessment")]:
        other = LedgerKey("sub-1", period_start, usage_type)
        assert last_item_id(KEY) < item_id(other, sequence)


@given(
    st.from_regex(r"\A[A-Za-z0-9._~:@|+=,-]{1,128}\Z"),
    st.datetimes(datetime(2000, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.integers(1, 31),
)
def test_an_invoice_id_reads_back_its_subscription_and_period(
    subscription_id: str, moment: datetime, anchor: int
) -> None:
    key = MonthlyCycle(anchor).period_of(moment).key
    assert parse_invoice_id(invoice_id(subscription_id, key)) == (subscription_id, key)


@given(st.text() | st.from_regex(r"\A.{0,9}-[0-9TZ+:.-]{0,20}\Z"))
def test_only_ids_that_can_be_built_are_read_back(text: str) -> None:
    parsed = parse_invoice_id(text)
    assert parsed is None or invoice_id(*parsed) == text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("sub-1", id="a subscription"),
        pytest.param("sub-1-", id="no period"),
        pytest.param("sub-1-20261101", id="a day"),
        pytest.param("sub-1-20261101T000000", id="no time zone"),
        pytest.param("sub-1-20261301T000000Z", id="month 13"),
        pytest.param("sub-1-20261101T00000Z", id="one digit missing"),
        pytest.param("sub-1-2026-11-01T00:00:00Z", id="not compact"),
        pytest.param("sub-1-20261101t000000Z", id="lower case"),
        pytest.param("sub-1-20261101T000000+0000", id="UTC as an offset"),
        pytest.param("sub-1-20261101T000000Z ", id="a trailing space"),
    ],
)
def test_text_that_resembles_an_invoice_id_is_none(text: str) -> None:
    assert parse_invoice_id(text) is None
