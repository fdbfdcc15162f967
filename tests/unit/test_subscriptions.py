"""The periods of a subscription, and changes of its anchor day: periods that have begun never change."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import NOW, make_subscription
from usage_billing.subscriptions.cycles import MonthlyCycle
from usage_billing.subscriptions.model import SPREAD, Subscription, SubscriptionStatus

DAYS = st.integers(1, 31)
YEARS = st.datetimes(datetime(2025, 1, 1), datetime(2029, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - in UTC


def anchored(day: int) -> Subscription:
    return make_subscription(billing_anchor_day=day)


def starts(subscription: Subscription, *moments: datetime) -> list[str]:
    """The days on which the periods of these moments start."""
    return [subscription.cycle.period_of(moment).key[:10] for moment in moments]


def test_a_new_anchor_day_takes_effect_at_the_end_of_the_current_period() -> None:
    changed = anchored(1).with_cycle(MonthlyCycle(15), NOW)
    assert changed.latest_cycle == MonthlyCycle(15)
    days = [datetime(2026, month, day, tzinfo=UTC) for month, day in ((11, 14), (11, 30), (12, 1), (12, 14), (12, 15))]
    assert starts(changed, *days) == ["2026-11-01", "2026-11-01", "2026-12-01", "2026-12-01", "2026-12-15"]
    assert changed.cycle.period_of(days[2]).end == days[4]


def test_a_change_that_has_not_taken_effect_is_replaced_by_the_next_one() -> None:
    once = anchored(1).with_cycle(MonthlyCycle(15), NOW)
    assert once.with_cycle(MonthlyCycle(20), NOW) == anchored(1).with_cycle(MonthlyCycle(20), NOW)
    assert once.with_cycle(MonthlyCycle(1), NOW) == anchored(1)


def test_the_same_anchor_day_changes_nothing() -> None:
    assert anchored(7).with_cycle(MonthlyCycle(7), NOW) == anchored(7)


def test_a_change_right_before_the_end_of_a_period_waits_for_the_next_end() -> None:
    """A function that remembers the old anchor day for another minute must not be wrong."""
    turn = datetime(2026, 12, 1, tzinfo=UTC)
    changed = anchored(1).with_cycle(MonthlyCycle(15), turn - timedelta(seconds=30))
    assert changed.cycle.period_of(turn + timedelta(seconds=30)) == anchored(1).cycle.period_of(turn)


@given(first=DAYS, changes=st.lists(st.tuples(YEARS, DAYS), max_size=5), moment=YEARS)
def test_every_instant_is_in_exactly_one_period_after_any_changes(
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
def test_a_change_never_affects_a_period_that_has_begun(first: int, day: int, now: datetime, moment: datetime) -> None:
    before = anchored(first)
    after = before.with_cycle(MonthlyCycle(day), now)
    turn = before.cycle.period_of(now + SPREAD).end
    if moment < turn:
        assert after.cycle.period_of(moment) == before.cycle.period_of(moment)
    else:
        assert after.cycle.period_of(moment).start >= turn


@pytest.mark.parametrize("count", [1, 4])
def test_earlier_anchor_days_are_kept(count: int) -> None:
    subscription = anchored(1)
    for number in range(count):
        subscription = subscription.with_cycle(MonthlyCycle(2 + number), NOW + timedelta(days=40 * number))
    assert len(subscription.earlier_cycles) == count
    assert starts(subscription, NOW) == ["2026-11-01"]


@pytest.mark.parametrize("status", SubscriptionStatus)
def test_a_subscription_is_active_only_in_the_status_active(status: SubscriptionStatus) -> None:
    assert replace(anchored(1), status=status).is_active == (status == "active")


def test_a_change_can_be_replaced_until_two_minutes_before_it_takes_effect() -> None:
    """Earlier, every function learns of the replacement in time."""
    turn = datetime(2026, 12, 1, tzinfo=UTC)
    once = anchored(1).with_cycle(MonthlyCycle(15), NOW)
    kept, replaced = (
        once.with_cycle(MonthlyCycle(20), turn - timedelta(minutes=2) - early)
        for early in (timedelta(0), timedelta.resolution)
    )
    assert [each.cycle for each in kept.earlier_cycles] == [MonthlyCycle(1), MonthlyCycle(15)]
    assert [each.cycle for each in replaced.earlier_cycles] == [MonthlyCycle(1)]


def test_a_new_subscription_is_active_and_its_periods_start_on_the_first() -> None:
    subscription = Subscription(subscription_id="sub-1", user_id="user-1", plan_id="business")
    assert subscription == anchored(1)
    assert subscription.is_active
