"""Deadlines whose remaining time is set by a test."""

from collections.abc import Callable
from dataclasses import dataclass

from usage_billing.platform.deadline import Deadline


@dataclass(frozen=True, slots=True)
class Scripted(Deadline):
    """A deadline that calls `seconds` for the time left."""

    seconds: Callable[[], float]

    def left(self) -> float:
        return self.seconds() + self.at


def scripted(seconds: Callable[[], float]) -> Scripted:
    return Scripted(0.0, seconds)


def stopped(seconds: float) -> Scripted:
    """Return a deadline that always has so many seconds left."""
    return scripted(lambda: seconds)
