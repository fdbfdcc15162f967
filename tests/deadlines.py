"""A deadline whose time passes as a test says."""

from collections.abc import Callable
from dataclasses import dataclass

from usage_billing.platform.deadline import Deadline


@dataclass(frozen=True, slots=True)
class Scripted(Deadline):
    """`seconds` says how much time is left, each time somebody asks."""

    seconds: Callable[[], float]

    def left(self) -> float:
        return self.seconds() + self.at


def scripted(seconds: Callable[[], float]) -> Scripted:
    return Scripted(0.0, seconds)


def stopped(seconds: float) -> Scripted:
    """Return a deadline that stays so many seconds away."""
    return scripted(lambda: seconds)
