"""The time an invocation may still take, and what is kept of it for what has to come last."""

from dataclasses import dataclass, replace
from math import inf
from time import monotonic
from typing import Protocol, Self

RECORD_RESERVE = 7.0
"""Kept of a request's time when nothing more is recorded: one call that hangs until it is given up, or the queue."""

ENQUEUE_RESERVE = 2.0
"""Kept of a request's time when nothing more is queued: the caller is told to send the rest again."""

MOVE_RESERVE = 8.0
"""Kept of a request's time when no more dead events are redriven or dropped: one call that hangs, and the answer."""

LIST_RESERVE = 5.0
"""Kept of a request's time when no further run is listed: one call that hangs, and the answer."""

CONSUME_RESERVE = 40.0
"""Kept of a delivery's time when nothing more is recorded: four calls that hang, each until it is given up."""

DEAD_LETTER_RESERVE = 10.0
"""Kept of a delivery's time when nothing more is dead-lettered: one call that hangs, and the answer."""

BILL_RESERVE = 10.0
"""Kept of a run's time to end what is in flight, hand over the rest and answer."""


class Invocation(Protocol):
    """The part of Lambda's context that knows the time."""

    def get_remaining_time_in_millis(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Deadline:
    """The instant `at` of the monotonic clock, in seconds, by which something has to be done."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Self:
        return cls(monotonic() + seconds)

    @classmethod
    def of(cls, context: Invocation) -> Self:
        """Return when Lambda ends this invocation."""
        return cls.after(context.get_remaining_time_in_millis() / 1000)

    def less(self, reserve: float) -> Self:
        """Return the deadline for what has to be done `reserve` seconds earlier."""
        return replace(self, at=self.at - reserve)

    def left(self) -> float:
        """Return the seconds until then; negative afterwards."""
        return self.at - monotonic()

    @property
    def has_passed(self) -> bool:
        return self.left() <= 0


NEVER = Deadline(inf)
