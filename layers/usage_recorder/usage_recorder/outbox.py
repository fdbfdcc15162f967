"""The outbox: the buffer as threads share it, with a lock around every call and a signal for every change."""

import math
import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from usage_recorder.buffers import Buffer, Entry, ParkedEntry
from usage_recorder.deadlines import Deadline
from usage_recorder.errors import RecorderClosed, SpoolFailed
from usage_recorder.memory import MemoryBuffer
from usage_recorder.parking import identity_of, text_to_retry

R = TypeVar("R")


class Outbox:
    """The events that were accepted and not sent yet, and the parked ones. Safe under threads."""

    def __init__(self, buffer: Buffer) -> None:
        self.changed = threading.Condition()
        """Held around every use of the buffer, and notified after changes. The holder may acquire it again."""
        self.closed = False
        self._buffer = buffer
        self._left: int | None = None  # the number of unsent events when the buffer was closed

    def wait_for(self, condition: Callable[[], R], deadline: Deadline) -> R:
        """Return the value of `condition` once it is true, or at the deadline. It is called with the lock held."""
        with self.changed:
            while not (value := condition()):
                left = deadline.left()
                if not left:
                    break
                wait = min(left, self._buffer.poll_seconds or math.inf)
                self.changed.wait(None if wait == math.inf else wait)
            return value

    # --- Accepting events -----------------------------------------------------------------------

    def accept(self, text: str, deadline: Deadline, claim_seconds: float) -> Entry | None:
        """Hold an event's JSON, claimed for `claim_seconds`; return None if there was no room by the deadline.

        Raises:
            RecorderClosed, SpoolFailed: it was not accepted either.
        """

        def add() -> Entry | None:
            self._require_open()
            return self._buffer.add(text, claim_seconds)

        with self.changed:
            entry = self.wait_for(add, deadline)
            self.changed.notify_all()
            return entry

    def stop_accepting(self) -> bool:
        """Accept no more events; return whether it was open until now."""
        with self.changed:
            was_open = not self.closed
            self.closed = True
            self.changed.notify_all()
            return was_open

    def _require_open(self) -> None:
        if self.closed:
            raise RecorderClosed("the recorder is closed")

    # --- Parked events --------------------------------------------------------------------------

    def parked(self) -> list[ParkedEntry]:
        with self.changed:
            self._require_open()
            return self._buffer.parked()

    def unpark(self, numbers: Iterable[int]) -> int:
        with self.changed:
            self._require_open()
            count = self._buffer.unpark(numbers, lambda each: text_to_retry(each, datetime.now(UTC)))
            self.changed.notify_all()
            return count

    def drop(self, numbers: Iterable[int]) -> int:
        with self.changed:
            self._require_open()
            return self._buffer.drop(numbers)

    # --- Sending --------------------------------------------------------------------------------

    def waiting(self, limit: int) -> int:
        with self.changed:
            return self._buffer.waiting(limit)

    def take(self, max_events: int, max_bytes: int, seconds: float) -> list[Entry]:
        with self.changed:
            return self._buffer.take(max_events, max_bytes, seconds)

    def settle(self, acknowledged: Sequence[Entry], refused: Sequence[ParkedEntry]) -> list[ParkedEntry]:
        """Delete acknowledged events, park refused ones, and return those that were discarded for lack of room."""
        discarded: list[ParkedEntry] = []
        with self.changed:
            if acknowledged:
                # An earlier refusal may be parked: a job that was run again succeeded once the cause was fixed.
                same = {identity_of(each.text) for each in acknowledged} if self._buffer.has_parked() else set()
                self._buffer.settle(acknowledged, same)
            if refused:
                discarded = self._buffer.park(refused)
            if acknowledged or refused:
                self.changed.notify_all()
        return discarded

    def release(self, entries: Iterable[Entry], pause: float) -> None:
        with self.changed:
            self._buffer.release(entries, pause)
            self.changed.notify_all()

    # --- Progress -------------------------------------------------------------------------------

    @property
    def unsent(self) -> int:
        """The number of accepted events without a final answer (in a spool: of all processes)."""
        with self.changed:
            return self._left if self._left is not None else len(self._buffer)

    def unsent_text(self) -> str:
        """Return `unsent` for the log, which has to work even if the spool does not."""
        try:
            return str(self.unsent)
        except SpoolFailed:
            return "an unknown number"

    def last_number(self) -> int:
        with self.changed:
            return self._buffer.last_number()

    def holds_up_to(self, number: int) -> bool:
        with self.changed:
            return self._buffer.holds_up_to(number)

    def is_settled_up_to(self, number: int) -> bool:
        """Return whether all events up to `number` are acknowledged or rejected; postponed ones are neither."""
        with self.changed:
            return not self._buffer.holds_up_to(number) and not self._buffer.postpones_up_to(number)

    # --- The end of the process, and forks ------------------------------------------------------

    def lost_at_exit(self) -> tuple[list[Entry], list[ParkedEntry]]:
        """Return the unsettled and the postponed events that would be lost if the process ended now."""
        with self.changed:
            return self._buffer.unsettled(), self._buffer.postponed()

    def close(self) -> None:
        with self.changed:
            self._left = len(self._buffer)
            self._buffer.close()

    def abandon(self) -> None:
        """Let go of the parent's events in a forked process. Nothing is accepted from now on."""
        self.changed = threading.Condition()
        self._buffer.abandon()
        self._buffer = MemoryBuffer(0)
