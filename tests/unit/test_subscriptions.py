"""A subscription's periods, also when its anchor day is changed: what has begun stays as it is."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage_billing.subscriptions.cycles import MonthlyCycle
from usage_billing.subscriptions.model import SPREAD, Subscription, SubscriptionStatus

DAYS = st.integers(1, 31)
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
YEARS = st.datetimes(datetime(2025, 1, 1), datetime(2029, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - in UTC


def anchored(day: int) -> Subscription:
    return Subscription(subscription_id="sub-1", user_id="user-1", plan_id="business", latest_cycle=MonthlyCycle(day))


def starts(subscription: Subscription, *moments: datetime) -> list[str]:
    return [subscription.cycle.period_of(moment).key[:10] for moment in moments]


def test_another_anchor_day_holds_from_the_end_of_the_current_period() -> None:
    changed = anchored(1).with_cycle(MonthlyCycle(15), NOW)
    assert changed.latest_cycle == MonthlyCycle(15)
    days = [datetime(2026, month, day, tzinfo=UTC) for month, day in ((11, 14), (11, 30), (12, 1), (12, 14), (12, 15))]
    assert starts(changed, *days) == ["2026-11-01", "2026-11-01", "2026-12-01", "2026-12-01", "2026-12-15"]
    assert changed.cycle.period_of(days[2]).end == days[4]


def test_a_change_that_has_not_taken_over_is_replaced() -> None:
    once = anchored(1).with_cycle(MonthlyCycle(15), NOW)
    assert once.with_cycle(MonthlyCycle(20), NOW) == anchored(1).with_cycle(MonthlyCycle(20), NOW)
    assert once.with_cycle(MonthlyCycle(1), NOW) == anchored(1)


def test_the_same_day_again_changes_nothing() -> None:
    assert anchored(7).with_cycle(MonthlyCycle(7), NOW) == anchored(7)


def test_a_change_at_the_very_turn_waits_until_every_function_knows() -> None:
    """A function that still remembers the old day a minute after the turn must not be wrong."""
    turn = datetime(2026, 12, 1, tzinfo=UTC)
    changed = anchored(1).with_cycle(MonthlyCycle(15), turn - timedelta(seconds=30))
    assert changed.cycle.period_of(turn + timedelta(seconds=30)) == anchored(1).cycle.period_of(turn)


@given(first=DAYS, changes=st.lists(st.tuples(YEARS, DAYS), max_size=5), moment=YEARS)
def test_every_instant_lies_in_exactly_one_period(
    first: int, changes: list[tuple[datetime, int]], moment: datetime
) -> None:
    subscription = anchored(first)
    for when, day in sorted(changes, key=lambda change: change[0]):
        subscription = subscription.with_cycle(MonthlyCycle(day), when)
    period = subscription.cycle.period_of(moment)
    assert moment in period
    assert subscription.cycle.period_of(period.start) == period
    assert subscription.cycle.period_of(period.end).start == period.end
    assert subscription.cycle.period_of(period.end - timedelta(microseconds=1)) == period


@given(first=DAYS, day=DAYS, now=YEARS, moment=YEARS)
def test_a_change_leaves_every_period_that_has_begun_as_it_is(
    first: int, day: int, now: datetime, moment: datetime
) -> None:
    before = anchored(first)
    after = before.with_cycle(MonthlyCycle(day), now)
    turn = before.cycle.period_of(now + SPREAD).end
    if moment < turn:
        assert after.cycle.period_of(moment) == before.cycle.period_of(moment)
    else:
        assert after.cycle.period_of(moment).start >= turn


@pytest.mark.parametrize("count", [1, 4])
def test_what_held_before_is_kept(count: int) -> None:
    subscription = anchored(1)
    for number in range(count):
        subscription = subscription.with_cycle(MonthlyCycle(2 + number), NOW + timedelta(days=40 * number))
    assert len(subscription.earlier_cycles) == count
    assert starts(subscription, NOW) == ["2026-11-01"]


@pytest.mark.parametrize("status", SubscriptionStatus)
def test_only_an_active_subscription_is_active(status: SubscriptionStatus) -> None:
    assert replace(anchored(1), status=status).is_active == (status == "active")


def test_an_anchor_day_that_takes_over_within_the_spread_has_taken_over() -> None:
    """A moment earlier it can still be replaced: every function will know in time."""
    turn = datetime(2026, 12, 1, tzinfo=UTC)
    once = anchored(1).with_cycle(MonthlyCycle(15), NOW)
    kept, replaced = (
        once.with_cycle(MonthlyCycle(20), turn - timedelta(minutes=2) - early)
        for early in (timedelta(0), timedelta.resolution)
    )
    assert [each.cycle for each in kept.earlier_cycles] == [MonthlyCycle(1), MonthlyCycle(15)]
    assert [each.cycle for each in replaced.earlier_cycles] == [MonthlyCycle(1)]


def test_a_new_subscription_is_active_from_the_first_of_the_month() -> None:
    subscription = Subscription(subscription_id="sub-1", user_id="user-1", plan_id="business")
    assert subscription == anchored(1)
    assert subscription.is_active
