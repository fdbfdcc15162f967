"""Retries of writes that lost a race: how many, and how long to wait before each."""

import time
from collections.abc import Iterator
from random import SystemRandom

_random = SystemRandom()  # environments restored from the same snapshot share any other generator's state

MAX_ATTEMPTS = 12
FIRST_PAUSE = 0.02
MAX_PAUSE = 0.5


def attempts(maximum: int = MAX_ATTEMPTS) -> Iterator[int]:
    """Yield the attempts' numbers from 1 to `maximum`, and pause before each attempt but the first.

    The pauses of `MAX_ATTEMPTS` attempts take at most 4.2 s in all, and half of that on average.
    """
    for number in range(1, maximum + 1):
        pause(number - 1)
        yield number


def pause(lost: int) -> None:
    """Pause after `lost` lost races: exponential backoff with full jitter. Without a lost race, do not pause."""
    if lost:
        time.sleep(_random.uniform(0, min(MAX_PAUSE, FIRST_PAUSE * 2 ** (lost - 1))))


def linger() -> None:
    """Pause a little longer than a transaction takes, so that a write in progress has ended."""
    time.sleep(_random.uniform(5, 10) * FIRST_PAUSE)
