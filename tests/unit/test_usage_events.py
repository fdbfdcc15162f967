"""Usage events: when they occurred, how old they may be, and who reported them."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.builders import NOW, make_event
from usage_billing.usage.event_age import timely

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        pytest.param({}, NOW, id="no time is given: now"),
        pytest.param({"accepted_at": NOW - HOUR}, NOW - HOUR, id="when it was accepted"),
        pytest.param(
            {"reported_at": NOW - 2 * HOUR, "accepted_at": NOW - HOUR}, NOW - 2 * HOUR, id="when it was reported"
        ),
        pytest.param({"reported_at": NOW + HOUR}, NOW, id="a report from the future: now"),
        pytest.param(
            {"reported_at": NOW, "accepted_at": NOW - HOUR},
            NOW - HOUR,
            id="a report after it was accepted: when it was accepted",
        ),
        pytest.param(
            {"occurred_at": NOW + HOUR, "reported_at": NOW - HOUR},
            NOW + HOUR,
            id="the caller's occurredAt, even from the future",
        ),
    ],
)
def test_an_event_occurred_when_its_caller_says_or_else_when_it_was_reported_or_accepted(
    times: dict[str, Any], expected: datetime
) -> None:
    assert make_event(**times).when(NOW) == expected


@pytest.mark.parametrize(
    ("occurred_at", "expected"),
    [
        pytest.param(NOW - timedelta(days=366), True, id="the maximum age"),
        pytest.param(NOW - timedelta(days=366) - timedelta(microseconds=1), False, id="older than the maximum age"),
        pytest.param(NOW + timedelta(minutes=15), True, id="the maximum clock skew"),
        pytest.param(
            NOW + timedelta(minutes=15) + timedelta(microseconds=1), False, id="beyond the maximum clock skew"
        ),
    ],
)
def test_an_event_is_timely_for_366_days_and_up_to_15_minutes_ahead(occurred_at: datetime, expected: bool) -> None:
    assert timely(occurred_at, NOW) is expected


@pytest.mark.parametrize(
    ("event_id", "by_customer"),
    [
        pytest.param("customer:1", True, id="with the prefix"),
        pytest.param("customer", False, id="without the colon"),
        pytest.param("x-customer:1", False, id="with the prefix inside"),
    ],
)
def test_events_reported_by_customers_have_ids_with_a_prefix(event_id: str, by_customer: bool) -> None:
    assert make_event(event_id).reported_by_customer is by_customer
