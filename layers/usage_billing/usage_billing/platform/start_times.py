"""When a read or a call began, and for how long a write may be based on a read."""

import time
from dataclasses import dataclass
from typing import Self

MAX_READ_SECONDS = 5.0
"""Age from which a read is too old to write by. A call to DynamoDB takes at most 7 s (`platform/dynamodb.py`), so
nothing is written by what was true more than 12 s ago. Changes of subscriptions and quotas take effect 15 s after they
are requested: no writer can then still rely on what was before."""


@dataclass(frozen=True, slots=True)
class StartTime:
    """The instant at which something began, by two clocks.

    Lambda freezes a process between invocations, for minutes. The monotonic clock may stand still meanwhile, and it may
    be set back when a snapshot is restored. The time of day may be set back at any time. So both are read, and the
    greater age counts. At worst, something is read once more than needed.
    """

    monotonic: float
    time_of_day: float

    @classmethod
    def now(cls) -> Self:
        return cls(time.monotonic(), time.time())

    def age(self) -> float:
        """Return the seconds since then."""
        return max(time.monotonic() - self.monotonic, time.time() - self.time_of_day)

    def is_older_than(self, seconds: float) -> bool:
        """Return True once so many seconds have passed."""
        return self.age() >= seconds
