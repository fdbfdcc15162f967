"""Retries are bounded in number and time."""

import pytest

from usage_billing.platform import retries


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr(retries.time, "sleep", slept.append)
    return slept


def test_tries_are_counted_and_end(pauses: list[float]) -> None:
    assert list(retries.attempts()) == list(range(1, retries.MAX_ATTEMPTS + 1))
    assert len(pauses) == retries.MAX_ATTEMPTS - 1


def test_the_first_try_comes_at_once_and_a_success_pauses_no_more(pauses: list[float]) -> None:
    for number in retries.attempts():
        if number == 2:
            break
        assert pauses == []
    assert len(pauses) == 1


def test_no_pause_exceeds_its_doubling_bound_nor_their_sum_what_is_promised(pauses: list[float]) -> None:
    for _ in range(200):
        pauses.clear()
        list(retries.attempts())
        for number, pause in enumerate(pauses):
            assert 0 <= pause <= min(retries.LONGEST_PAUSE, retries.FIRST_PAUSE * 2**number)
        assert sum(pauses) <= 4.2


def test_two_that_lost_the_same_race_do_not_come_back_together(pauses: list[float]) -> None:
    list(retries.attempts())
    one = tuple(pauses)
    pauses.clear()
    list(retries.attempts())
    assert one != tuple(pauses)
