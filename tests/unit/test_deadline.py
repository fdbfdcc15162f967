"""Deadlines: the time that is left, and the time that is reserved of it."""

from math import inf

import pytest

from tests.api import Context
from usage_billing.platform import deadline
from usage_billing.platform.deadline import NEVER, Deadline


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock: its time is the first element, which a test changes."""
    seconds = [1000.0]
    monkeypatch.setattr(deadline, "monotonic", lambda: seconds[0])
    return seconds


def test_the_time_left_passes_with_the_clock(clock: list[float]) -> None:
    ten = Deadline.after(10)
    assert (ten.left(), ten.has_passed) == (10, False)
    clock[0] += 9
    assert (ten.left(), ten.has_passed) == (1, False)
    clock[0] += 1
    assert (ten.left(), ten.has_passed) == (0, True)
    clock[0] += 1
    assert (ten.left(), ten.has_passed) == (-1, True)


def test_a_reserve_makes_a_deadline_earlier_and_leaves_the_first_one_as_it_was(clock: list[float]) -> None:
    ten = Deadline.after(10)
    assert (ten.less(7).left(), ten.less(7).less(4).left(), ten.left()) == (3, -1, 10)


def test_an_invocation_ends_when_lambda_ends_it() -> None:
    context = Context()
    left = Deadline.of(context).left()
    assert left == pytest.approx(context.get_remaining_time_in_millis() / 1000, abs=1)
    assert left > 1


def test_never_does_not_pass() -> None:
    assert (NEVER.left(), NEVER.less(1000).left(), NEVER.has_passed) == (inf, inf, False)
