"""The rules of automatic retries: which causes are temporary, and how long the pauses are."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from usage_recorder import Pauses
from usage_recorder.events import UsageEvent
from usage_recorder.outcomes import Problem
from usage_recorder.parking import is_temporary

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def event_at(moment: datetime, *, reported: bool = False) -> UsageEvent:
    return UsageEvent(
        event_id="e1",
        user_id="u",
        subscription_id="s",
        usage_type="t",
        quantity=Decimal(1),
        occurred_at=None if reported else moment,
        reported_at=moment if reported else None,
        metadata={},
    )


def out_of_range(*fields: str) -> Problem:
    return Problem(422, "validation_error", "why", tuple({"field": each, "code": "out_of_range"} for each in fields))


@pytest.mark.parametrize(
    ("refusal", "event", "expected"),
    [
        pytest.param(Problem(404, "subscription_not_found", ""), event_at(NOW), True, id="no subscription yet"),
        pytest.param(Problem(404, "plan_not_found", ""), event_at(NOW), False, id="something else does not exist"),
        pytest.param(
            out_of_range("occurredAt"), event_at(NOW + timedelta(hours=3)), True, id="ahead of the service's clock"
        ),
        pytest.param(out_of_range("reportedAt"), event_at(NOW, reported=True), False, id="reported too long ago"),
        pytest.param(
            out_of_range("occurredAt"),
            event_at(NOW - timedelta(days=9)),
            True,
            id="days ago, so the service's clock is behind",
        ),
        pytest.param(out_of_range("occurredAt"), event_at(NOW - timedelta(days=367)), False, id="too old"),
        pytest.param(out_of_range("quantity"), event_at(NOW), False, id="not about the time"),
        pytest.param(out_of_range("occurredAt", "quantity"), event_at(NOW), False, id="not only about the time"),
        pytest.param(Problem(422, "validation_error", "why"), event_at(NOW), False, id="without an error for a field"),
        pytest.param(Problem(409, "event_id_conflict", ""), event_at(NOW), False, id="a conflict"),
    ],
)
def test_a_cause_is_temporary_if_time_may_remove_it(refusal: Problem, event: UsageEvent, expected: bool) -> None:
    assert is_temporary(refusal, event, NOW) is expected


def test_pauses_grow_and_end_after_a_day() -> None:
    pauses, now, gaps = Pauses(), 0.0, []
    while (later := pauses.retry_at(0.0, now)) is not None:
        gaps.append(later - now)
        now = later
    assert 15 <= gaps[0] <= 30
    assert max(gaps) <= 1800
    assert all(gap >= 900 for gap in gaps[20:])
    assert 86_400 <= now <= 86_400 + 1800
    assert 48 <= len(gaps) <= 120


@pytest.mark.parametrize("longest", [0, 3001])
def test_a_pause_as_long_as_a_void_claim_is_refused(longest: float) -> None:
    with pytest.raises(ValueError, match="postponed_longest must be more than 0 and at most 3000 s"):
        Pauses(postponed_longest=longest)


def test_when_the_clock_is_set_back_events_are_still_retried() -> None:
    assert Pauses().retry_at(since=1_000_000.0, now=0.0) == pytest.approx(22.5, abs=7.5)
