"""When something was read, and whether a write may still be based on it."""

import time
from dataclasses import dataclass
from typing import Self

MAX_READ_SECONDS = 5.0
"""Age from which a read is too old to write by. A call to DynamoDB takes at most 7 s more (`platform/dynamodb.py`), so
nothing is written by what was true more than 12 s ago. Changes of subscriptions and quotas take effect 15 s after they
are requested, and no writer can then still rely on what they replace."""


@dataclass(frozen=True, slots=True)
class ReadTime:
    """The instant at which a read began, by two clocks.

    Lambda freezes a process between invocations, for minutes. The monotonic clock may stand still meanwhile, and a
    restored snapshot may set it back; the time of day may be set back at any time. So both are asked, and the greater
    age counts. At worst something is read once more than needed.
    """

    monotonic: float
    time_of_day: float

    @classmethod
    def now(cls) -> Self:
        return cls(time.monotonic(), time.time())

    def age(self) -> float:
        """Return the seconds since the read began."""
        return max(time.monotonic() - self.monotonic, time.time() - self.time_of_day)

    @property
    def is_too_old(self) -> bool:
        """Return True if nothing may be written by this read any more."""
        return self.age() >= MAX_READ_SECONDS
