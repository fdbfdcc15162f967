"""Instants: their text form in UTC, and the field type that accepts them."""

import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from tests.unit.validation import refusal
from usage_billing.kernel.fields import INSTANT_RULE, Bound, Instant
from usage_billing.kernel.instants import instant, iso, soon

INSTANT: TypeAdapter[datetime] = TypeAdapter(Instant)
BOUND: TypeAdapter[datetime] = TypeAdapter(Bound)
SECOND = timedelta(seconds=1)


@given(st.datetimes(timezones=st.just(UTC)))
def test_an_instant_reads_back_from_its_text(moment: datetime) -> None:
    text = iso(moment)
    assert instant(text) == moment
    assert text.endswith("Z")
    assert not text.endswith(("0Z", ".Z")) or "." not in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("2026-11-01T12:00:00Z", "2026-11-01T12:00:00Z", id="UTC"),
        pytest.param("2026-11-01T12:00:00+00:00", "2026-11-01T12:00:00Z", id="UTC as an offset"),
        pytest.param("2026-11-01T01:30:00+05:30", "2026-10-31T20:00:00Z", id="another day in UTC"),
        pytest.param("2026-11-01T12:00:00.120Z", "2026-11-01T12:00:00.12Z", id="a fraction"),
        pytest.param("2026-11-01T12:00:00.000001Z", "2026-11-01T12:00:00.000001Z", id="a microsecond"),
        pytest.param("2026-11-01T12:00Z", "2026-11-01T12:00:00Z", id="without seconds"),
    ],
)
def test_an_instant_is_converted_to_utc(text: str, expected: str) -> None:
    assert iso(INSTANT.validate_python(text)) == expected


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("2026-11-01T12:00:00", id="no time zone"),
        pytest.param("2026-11-01", id="a day"),
        pytest.param("yesterday, at a quarter to nine", id="words"),
        pytest.param("1793534400", id="seconds as text"),
        pytest.param("17935344000000000000", id="many seconds as text"),
        pytest.param(1793534400, id="seconds"),
        pytest.param(Decimal("1793534400.5"), id="fractional seconds"),
        pytest.param("2026-02-30T12:00:00Z", id="30 Feb"),
        pytest.param("2026-11-01T24:30:00Z", id="hour 24"),
        pytest.param("0001-01-01T00:00:00+05:00", id="before the first year in UTC"),
        pytest.param("9999-12-31T23:59:59-05:00", id="after the last year in UTC"),
        pytest.param("10000-01-01T00:00:00Z", id="a year of five digits"),
        pytest.param(True, id="true"),
        pytest.param("", id="empty"),
    ],
)
def test_an_invalid_instant_is_refused(value: object) -> None:
    assert refusal(INSTANT, value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param(1793534400, INSTANT_RULE, id="seconds"),
        pytest.param("2026-11-01", INSTANT_RULE, id="a day"),
        pytest.param("0001-01-01T00:00:00+05:00", "must be a year from 1 to 9999 in UTC", id="before the first year"),
    ],
)
def test_a_refused_instant_has_a_reason(value: object, reason: str) -> None:
    assert refusal(INSTANT, value) == reason


def test_a_datetime_is_accepted_as_an_instant() -> None:
    moment = INSTANT.validate_python(datetime(2026, 11, 1, 13, tzinfo=timezone(timedelta(hours=1))))
    assert moment == datetime(2026, 11, 1, 12, tzinfo=UTC)
    assert moment.tzinfo is UTC


def test_the_same_instant_in_two_time_zones_is_equal() -> None:
    paris, utc = map(INSTANT.validate_python, ("2026-11-01T13:00:00+01:00", "2026-11-01T12:00:00Z"))
    assert paris == utc
    assert paris.utcoffset() == timedelta(0)


# --- Instants at which something begins or ends ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z", id="the first"),
        pytest.param("2200-12-31T23:59:59Z", "2200-12-31T23:59:59Z", id="the last"),
        pytest.param("2026-11-01T00:00:00.000+01:00", "2026-10-31T23:00:00Z", id="a fraction of zero"),
    ],
)
def test_a_bound_is_a_whole_second(text: str, expected: str) -> None:
    assert iso(BOUND.validate_python(text)) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("2026-11-01T00:00:00.5Z", "must be a whole second, without a fraction", id="half a second"),
        pytest.param("1969-12-31T23:59:59Z", "must be in the years 1970 to 2200", id="too early"),
        pytest.param("2201-01-01T00:00:00Z", "must be in the years 1970 to 2200", id="too late"),
        pytest.param("2200-12-31T23:59:59-00:01", "must be in the years 1970 to 2200", id="too late in UTC"),
        pytest.param("2026-11-01", INSTANT_RULE, id="a day"),
    ],
)
def test_another_bound_is_refused_with_a_reason(text: str, reason: str) -> None:
    assert refusal(BOUND, text) == reason


@given(st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat(timespec="seconds")))
def test_an_instant_that_the_schema_of_a_bound_allows_is_accepted(text: str) -> None:
    if re.search(BOUND.json_schema()["pattern"], text):
        assert BOUND.validate_python(text) == instant(text)


@given(st.datetimes(timezones=st.just(UTC)).filter(lambda moment: moment.year < 9999))
def test_soon_is_the_first_whole_second_after_fifteen_seconds(now: datetime) -> None:
    assert soon(now).microsecond == 0
    assert 15 * SECOND <= soon(now) - now < 16 * SECOND
