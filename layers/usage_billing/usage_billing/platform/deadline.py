"""Deadlines of an invocation, and the reserves: seconds before its end at which a step of the work has to stop."""

from dataclasses import dataclass, replace
from math import inf
from time import monotonic
from typing import Protocol, Self

RECORD_RESERVE = 7.0
"""A request stops recording this long before its end: enough for one call to time out, or for the queue."""

ENQUEUE_RESERVE = 2.0
"""A request stops sending to the queue this long before its end, and tells the caller to send the rest again."""

MOVE_RESERVE = 8.0
"""A request stops redriving or dropping dead events this long before its end: one call may still time out."""

LIST_RESERVE = 5.0
"""A request stops adding runs to its list this long before its end: one call may still time out."""

CONSUME_RESERVE = 40.0
"""A delivery stops recording this long before its end: enough for four calls to time out."""

DEAD_LETTER_RESERVE = 10.0
"""A delivery stops dead-lettering this long before its end: one call may still time out."""

BILL_RESERVE = 10.0
"""A run stops settling this long before its end, to finish what is in flight, hand over the rest and respond."""


class Invocation(Protocol):
    """The part of Lambda's context that this module needs."""

    def get_remaining_time_in_millis(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Deadline:
    """The time by which something has to be done: `at` is in seconds of the monotonic clock."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Self:
        """Return the deadline that is so many seconds away."""
        return cls(monotonic() + seconds)

    @classmethod
    def of(cls, context: Invocation) -> Self:
        """Return the time at which Lambda ends this invocation."""
        return cls.after(context.get_remaining_time_in_millis() / 1000)

    def less(self, reserve: float) -> Self:
        """Return the deadline that is `reserve` seconds earlier."""
        return replace(self, at=self.at - reserve)

    def left(self) -> float:
        """Return the seconds that are left; negative once the deadline has passed."""
        return self.at - monotonic()

    @property
    def has_passed(self) -> bool:
        return self.left() <= 0


NEVER = Deadline(inf)
