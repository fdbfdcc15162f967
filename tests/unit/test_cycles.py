"""Monthly cycles: periods without gaps or overlaps, and month ends that return to their anchor day."""

from calendar import monthrange
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage_billing.subscriptions.cycles import MonthlyCycle

ANCHORS = st.integers(1, 31)


INSTANTS = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001


TICK = timedelta(microseconds=1)


@given(ANCHORS, INSTANTS)
def test_a_period_contains_the_instant_that_it_was_asked_for(anchor: int, moment: datetime) -> None:
    period = MonthlyCycle(anchor).period_of(moment)
    assert moment in period
    assert period.start <= moment < period.end


@given(ANCHORS, INSTANTS)
def test_periods_follow_each_other_without_gaps_or_overlaps(anchor: int, moment: datetime) -> None:
    cycle = MonthlyCycle(anchor)
    period = cycle.period_of(moment)
    assert cycle.period_of(period.start) == cycle.period_of(period.end - TICK) == period
    following, preceding = cycle.period_of(period.end), cycle.period_of(period.start - TICK)
    assert following.start == period.end
    assert preceding.end == period.start
    assert period.end not in period
    assert period.start - TICK not in period


@given(ANCHORS, INSTANTS)
def test_a_period_starts_at_midnight_on_the_anchor_day_or_the_last_day_of_the_month(
    anchor: int, moment: datetime
) -> None:
    start = MonthlyCycle(anchor).period_of(moment).start
    assert start.timetz() == datetime(2026, 1, 1, tzinfo=UTC).timetz()
    assert start.day == min(anchor, monthrange(start.year, start.month)[1])


@given(ANCHORS, INSTANTS, st.integers(-23, 23))
def test_the_period_does_not_depend_on_the_time_zone_of_the_instant(anchor: int, moment: datetime, hours: int) -> None:
    cycle = MonthlyCycle(anchor)
    elsewhere = moment.astimezone(timezone(timedelta(hours=hours)))
    assert cycle.period_of(elsewhere) == cycle.period_of(moment)
    assert cycle.period_of(elsewhere).start.tzinfo is UTC


@pytest.mark.parametrize("anchor", range(1, 32))
def test_exactly_one_period_starts_in_every_month(anchor: int) -> None:
    cycle, months = MonthlyCycle(anchor), []
    moment = cycle.period_of(datetime(2023, 1, 31, tzinfo=UTC)).start
    while moment.year < 2027:
        months.append((moment.year, moment.month))
        moment = cycle.period_of(moment).end
    assert months == [(year, month) for year in range(2023, 2027) for month in range(1, 13)]


def test_a_short_month_does_not_change_the_anchor_of_later_months() -> None:
    cycle, moment, starts = MonthlyCycle(31), datetime(2026, 1, 31, tzinfo=UTC), []
    for _ in range(5):
        period = cycle.period_of(moment)
        starts.append(period.start.date().isoformat())
        moment = period.end
    assert starts == ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31"]


@pytest.mark.parametrize(
    ("anchor", "moment", "start", "end"),
    [
        pytest.param(1, "2026-11-01T00:00:00+00:00", "2026-11-01", "2026-12-01", id="the first instant"),
        pytest.param(1, "2026-11-30T23:59:59.999999+00:00", "2026-11-01", "2026-12-01", id="the last instant"),
        pytest.param(1, "2026-12-31T23:59:59+00:00", "2026-12-01", "2027-01-01", id="the year's last second"),
        pytest.param(15, "2027-01-01T00:00:00+00:00", "2026-12-15", "2027-01-15", id="a period across two years"),
        pytest.param(31, "2028-02-29T00:00:00+00:00", "2028-02-29", "2028-03-31", id="29 Feb of a leap year"),
        pytest.param(30, "2028-02-28T23:00:00+00:00", "2028-01-30", "2028-02-29", id="the day before 29 Feb"),
        pytest.param(29, "2026-02-28T00:00:00+00:00", "2026-02-28", "2026-03-29", id="28 Feb of an ordinary year"),
        pytest.param(31, "2026-02-27T23:59:59+00:00", "2026-01-31", "2026-02-28", id="the day before 28 Feb"),
        pytest.param(
            1, "2026-12-01T00:30:00+01:00", "2026-11-01", "2026-12-01", id="December in Paris, November in UTC"
        ),
        pytest.param(1, "2026-10-31T20:00:00-05:00", "2026-11-01", "2026-12-01", id="October in New York"),
    ],
)
def test_the_period_of_an_instant(anchor: int, moment: str, start: str, end: str) -> None:
    period = MonthlyCycle(anchor).period_of(datetime.fromisoformat(moment))
    assert (period.start.date().isoformat(), period.end.date().isoformat()) == (start, end)


def test_an_instant_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^moment must have a time zone$"):
        MonthlyCycle(1).period_of(datetime(2026, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize("anchor", [0, 32, -1])
def test_an_anchor_day_that_no_month_has_is_refused(anchor: int) -> None:
    with pytest.raises(ValueError, match=r"^anchor_day must be from 1 to 31$"):
        MonthlyCycle(anchor)


def test_by_default_periods_start_on_the_first_of_the_month() -> None:
    assert MonthlyCycle() == MonthlyCycle(1)
