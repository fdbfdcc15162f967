"""How often and how soon a lost race is run again."""

import time
from collections.abc import Iterator
from random import SystemRandom

_random = SystemRandom()  # environments restored from one snapshot share the state of any other generator

MAX_ATTEMPTS = 12
FIRST_PAUSE = 0.02
LONGEST_PAUSE = 0.5


def attempts(maximum: int = MAX_ATTEMPTS) -> Iterator[int]:
    """Count the attempts from 1 to `maximum`, pausing before each but the first.

    All pauses of `MAX_ATTEMPTS` attempts together take at most 4.2 s, half of that on average.
    """
    for number in range(1, maximum + 1):
        pause(number - 1)
        yield number


def pause(lost: int) -> None:
    """Wait after `lost` lost races, full jitter under a doubling bound; not at all after none."""
    if lost:
        time.sleep(_random.uniform(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (lost - 1))))


def linger() -> None:
    """Wait a little longer than a transaction takes: whoever is at work has moved on by then."""
    time.sleep(_random.uniform(5, 10) * FIRST_PAUSE)
