"""Half-open periods and their keys."""

from datetime import UTC, datetime

from usage_billing.kernel.periods import Period
from usage_billing.subscriptions.cycles import MonthlyCycle


def test_an_empty_period_contains_nothing() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    assert moment not in Period(moment, moment)


def test_the_keys_of_periods_are_their_starts_and_sort_like_them() -> None:
    cycle, keys, moment = MonthlyCycle(31), [], datetime(2025, 9, 1, tzinfo=UTC)
    for _ in range(30):
        period = cycle.period_of(moment)
        keys.append(period.key)
        moment = period.end
    assert keys == sorted(set(keys))
    assert keys[0] == "2025-08-31T00:00:00Z"
