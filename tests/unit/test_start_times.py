"""The age of a read or a call, by the greater of two clocks, and when nothing can be written by a read any more."""

from datetime import timedelta
from typing import Any

import pytest

from tests.builders import NOW
from tests.clocks import StartClocks, stop_start_clocks
from usage_billing.kernel.instants import soon
from usage_billing.platform import config, dynamodb
from usage_billing.platform.start_times import MAX_READ_SECONDS, StartTime


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> StartClocks:
    return stop_start_clocks(monkeypatch)


def test_the_age_grows_with_the_clocks(clocks: StartClocks) -> None:
    start = StartTime.now()
    assert (start.age(), start.is_older_than(5)) == (0, False)
    clocks.pass_time(4.75)
    assert (start.age(), start.is_older_than(5)) == (4.75, False)
    clocks.pass_time(0.25)
    assert (start.age(), start.is_older_than(5)) == (5, True)


def test_a_freeze_counts_although_the_monotonic_clock_stood_still(clocks: StartClocks) -> None:
    start = StartTime.now()
    clocks.time_of_day += 300
    assert start.age() == 300


def test_time_counts_although_the_time_of_day_was_set_back(clocks: StartClocks) -> None:
    start = StartTime.now()
    clocks.monotonic += 300
    clocks.time_of_day -= 3600
    assert start.age() == 300


def test_time_counts_although_a_restored_snapshot_set_the_monotonic_clock_back(clocks: StartClocks) -> None:
    start = StartTime.now()
    clocks.monotonic = 0
    clocks.time_of_day += 300
    assert start.age() == 300


def test_a_write_by_the_oldest_read_ends_before_a_change_that_was_requested_after_the_read_takes_effect() -> None:
    timeouts: Any = config.CLIENT_CONFIG
    call = dynamodb.LAST_ATTEMPT_SECONDS + timeouts.connect_timeout + timeouts.read_timeout
    assert call <= 8
    assert NOW + timedelta(seconds=MAX_READ_SECONDS + call) < soon(NOW)
