"""Deadlines: the time by which a call has to be done, however many steps it takes."""

import math
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deadline:
    """An instant of `time.monotonic`. All durations are in seconds."""

    ends_at: float = math.inf

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """The deadline that many seconds from now."""
        return cls(time.monotonic() + seconds)

    def left(self, at_least: float = 0.0) -> float:
        """The time left, but never less than `at_least`."""
        return max(at_least, self.ends_at - time.monotonic())

    def passed(self) -> bool:
        """Return whether no time is left."""
        return time.monotonic() >= self.ends_at

    def within(self, seconds: float) -> "Deadline":
        """This deadline, or the one `seconds` from now if that is earlier."""
        return Deadline(min(self.ends_at, time.monotonic() + seconds))

    def reserve(self, seconds: float) -> "Deadline":
        """An earlier deadline, which leaves `seconds` for what comes afterwards."""
        return Deadline(self.ends_at - seconds)


NEVER = Deadline()
