"""The age of a read, by the greater of two clocks, and the time until nothing can be written by it any more."""

from typing import Any

import pytest

from tests.clocks import ReadClocks, stop_read_clocks
from usage_billing.platform import config, dynamodb, read_times
from usage_billing.platform.read_times import ReadTime


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> ReadClocks:
    return stop_read_clocks(monkeypatch)


def test_a_read_is_too_old_after_five_seconds(clocks: ReadClocks) -> None:
    read = ReadTime.now()
    assert (read.age(), read.is_too_old) == (0, False)
    clocks.pass_time(4.75)
    assert (read.age(), read.is_too_old) == (4.75, False)
    clocks.pass_time(0.25)
    assert (read.age(), read.is_too_old) == (5, True)


def test_a_read_from_before_a_freeze_is_too_old_although_the_monotonic_clock_stood_still(clocks: ReadClocks) -> None:
    read = ReadTime.now()
    clocks.time_of_day += 300
    assert read.is_too_old


def test_a_read_is_too_old_although_the_time_of_day_was_set_back(clocks: ReadClocks) -> None:
    read = ReadTime.now()
    clocks.monotonic += 300
    clocks.time_of_day -= 3600
    assert read.is_too_old


def test_nothing_is_written_by_a_read_of_more_than_thirteen_seconds_ago() -> None:
    """A change takes effect 15 seconds after it is requested."""
    timeouts: Any = config.CLIENT_CONFIG
    attempt = timeouts.connect_timeout + timeouts.read_timeout
    assert dynamodb.LAST_ATTEMPT_SECONDS + attempt <= 8
    assert read_times.MAX_READ_SECONDS + 8 <= 13
