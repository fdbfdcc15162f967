"""Deadlines: one time limit for calls of several steps."""

import math
import time

import pytest

from usage_recorder.deadlines import NEVER, Deadline


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The current time, which tests may change."""
    current = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: current[0])
    return current


def test_the_time_left_shrinks_to_nothing(now: list[float]) -> None:
    deadline = Deadline.after(3)
    assert (deadline.left(), deadline.passed()) == (3, False)
    now[0] += 2.5
    assert (deadline.left(), deadline.left(at_least=1), deadline.passed()) == (0.5, 1, False)
    now[0] += 0.5
    assert (deadline.left(), deadline.left(at_least=1), deadline.passed()) == (0, 1, True)
    now[0] += 10
    assert (deadline.left(), deadline.passed()) == (0, True)


def test_the_earlier_of_two_deadlines_counts() -> None:
    assert Deadline.after(3).within(5) == Deadline.after(3)
    assert Deadline.after(3).within(2) == Deadline.after(2)
    assert NEVER.within(2) == Deadline.after(2)


def test_a_reserve_makes_a_deadline_earlier() -> None:
    assert Deadline.after(3).reserve(1) == Deadline.after(2)
    assert Deadline.after(0.5).reserve(1).passed()


def test_without_a_deadline_there_is_always_time() -> None:
    assert NEVER.left() == math.inf
    assert not NEVER.passed()
