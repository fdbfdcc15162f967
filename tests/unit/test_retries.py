"""Retries: a limited number of attempts, with random pauses of limited length."""

import time

import pytest

from usage_billing.platform import retries


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses made so far, in seconds. They take no time."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


def test_attempts_are_numbered_and_limited(pauses: list[float]) -> None:
    assert list(retries.attempts()) == list(range(1, retries.MAX_ATTEMPTS + 1))
    assert len(pauses) == retries.MAX_ATTEMPTS - 1


def test_there_is_no_pause_before_the_first_attempt_and_none_after_a_success(pauses: list[float]) -> None:
    for number in retries.attempts():
        if number == 2:
            break
        assert pauses == []
    assert len(pauses) == 1


def test_pauses_stay_below_a_limit_that_doubles_and_below_the_documented_sum(pauses: list[float]) -> None:
    for _ in range(200):
        pauses.clear()
        list(retries.attempts())
        for number, pause in enumerate(pauses):
            assert 0 <= pause <= min(retries.MAX_PAUSE, retries.FIRST_PAUSE * 2**number)
        assert sum(pauses) <= 4.2


def test_two_callers_that_lost_the_same_race_pause_for_different_times(pauses: list[float]) -> None:
    list(retries.attempts())
    one = tuple(pauses)
    pauses.clear()
    list(retries.attempts())
    assert one != tuple(pauses)
