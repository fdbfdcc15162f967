"""Delivery of accepted events: the thread that sends them, flushing, closing, and forks."""

import logging
import threading
from collections.abc import Callable, Iterable

from usage_recorder.batches import BatchSender
from usage_recorder.buffers import Buffer, Entry, ParkedEntry
from usage_recorder.deadlines import Deadline
from usage_recorder.errors import SpoolFailed
from usage_recorder.immediate import send_by
from usage_recorder.outbox import Outbox
from usage_recorder.outcomes import Outcome, Postponed, Problem, Retry
from usage_recorder.sender import Sender
from usage_recorder.settings import Settings
from usage_recorder.settling import OnRejected, Settler

STOP_SECONDS = 0.5
"""The time that `close` waits for an attempt in progress when its own time is up."""

NOT_SENT = Problem(0, "not_sent", "the recorder was closed before the service had answered")

log = logging.getLogger("usage_recorder")


class Delivery:
    """An outbox and all that sends from it. Safe under threads, and made anew in a forked process."""

    def __init__(
        self,
        make_buffer: Callable[[bool], Buffer],
        make_sender: Callable[[], Sender],
        settings: Settings,
        on_rejected: OnRejected | None,
    ) -> None:
        """`make_buffer` is called with True in a forked process, which then waits for its own events only."""
        self._make_buffer = make_buffer
        self._make_sender = make_sender
        self._settings = settings
        self._on_rejected = on_rejected
        self._open()

    def _open(self, forked: bool = False) -> None:
        """Make everything that processes must not share."""
        self._outbox = Outbox(self._make_buffer(forked))
        self._sender = self._make_sender()
        self._settler = Settler(self._outbox, self._settings.pauses, self._on_rejected)
        self._batches = BatchSender(self._outbox, self._sender, self._settler, self._settings)
        self._thread: threading.Thread | None = None

    # --- Recording --------------------------------------------------------------------------------

    @property
    def unsent(self) -> int:
        """The number of accepted events without a final answer (in a spool: of all processes)."""
        return self._outbox.unsent

    def accept(self, text: str) -> Entry | None:
        """Hold an event's JSON and send it in the background; return None if there is no room for `full_timeout`.

        Raises:
            RecorderClosed, SpoolFailed: it was not accepted either.
        """
        with self._outbox.changed:
            entry = self._outbox.accept(text, Deadline.after(self._settings.full_timeout), 0.0)
            if entry:
                self._ensure_thread()
        return entry

    def send_now(self, text: str, timeout: float) -> Outcome | None:
        """Hold an event's JSON, send it at once, and return its outcome; return None if there was no room.

        Raises:
            RecorderClosed, SpoolFailed: it was not accepted either.
        """
        deadline = Deadline.after(timeout)
        room_by = deadline.within(self._settings.full_timeout)
        entry = self._outbox.accept(text, room_by, timeout + self._settings.claim_seconds)
        if entry is None:
            return None
        outcome: Outcome = Retry("it was interrupted")
        try:
            outcome = self._settler.resolve(entry, self._outcome_by(deadline, entry, timeout))
        finally:
            self._conclude(entry, outcome)
        return outcome

    def _outcome_by(self, deadline: Deadline, entry: Entry, timeout: float) -> Outcome:
        batches = self._batches
        try:
            return send_by(deadline, entry.text, self._sender, self._settings.pauses, lambda: batches.stopped)
        except TimeoutError:
            return Retry(f"no response within {timeout:g} s")

    def _conclude(self, entry: Entry, outcome: Outcome) -> None:
        """Settle an event. A spool that fails now is only logged, because the event was accepted.

        The spool then still holds the event, and it is sent once more when the claim ends; the service counts it once.
        """
        try:
            self._settler.settle([entry], [outcome])
            if isinstance(outcome, Retry):
                self._settler.release([entry])
        except SpoolFailed:
            log.exception("a usage event stays in the spool and will be sent again")
        if isinstance(outcome, Retry | Postponed):
            self._ensure_thread()

    # --- Parked events ----------------------------------------------------------------------------

    def parked(self) -> list[ParkedEntry]:
        return self._outbox.parked()

    def unpark(self, numbers: Iterable[int]) -> int:
        count = self._outbox.unpark(numbers)
        self._ensure_thread()
        return count

    def drop(self, numbers: Iterable[int]) -> int:
        return self._outbox.drop(numbers)

    # --- The thread -------------------------------------------------------------------------------

    def start(self) -> None:
        """Send what an earlier process may have left."""
        self._ensure_thread()

    def _ensure_thread(self) -> bool:
        """Return whether a thread sends events. If none can be started, the next call tries again."""
        with self._outbox.changed:
            if self._thread is None and not self._outbox.closed:
                thread = threading.Thread(target=self._run, name="usage-recorder", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # Python exits, or there are too many threads
                    log.warning("usage events are kept until they are flushed: %s", error)
                else:
                    self._thread = thread
            return self._thread is not None

    def _run(self) -> None:
        """A method of this object, so that the thread keeps it alive: see `lifetime`."""
        self._batches.run()

    def _end_thread(self, seconds: float) -> bool:
        """Return whether the thread ended; without an answer to its request it lives on until the process ends."""
        self._batches.stop()
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join(seconds)
        return not (self._thread and self._thread.is_alive())

    # --- Flushing and closing ---------------------------------------------------------------------

    def flush(self, timeout: float) -> bool:
        """Send the events accepted so far, and return whether all are settled. Do not wait for postponed ones."""
        return self._flush(Deadline.after(timeout))

    def _flush(self, deadline: Deadline) -> bool:
        last = self._outbox.last_number()

        def sent() -> bool:
            return not self._outbox.holds_up_to(last)

        with self._batches.flushing():
            if not sent():
                if self._ensure_thread():
                    self._outbox.wait_for(sent, deadline)
                else:
                    self._batches.run(sent, deadline)
            return self._outbox.is_settled_up_to(last)

    def close(self, timeout: float | None = None) -> bool:
        """Accept no more events, flush, and end the thread; return whether all events were sent.

        The others stay in the spool; without one they are logged and passed to `on_rejected`. It starts no thread,
        which Python forbids while it exits: if there is none, this one sends.
        """
        deadline = Deadline.after(self._settings.flush_timeout if timeout is None else timeout)
        if not self._outbox.stop_accepting():
            return not self.unsent
        sent = self._flush(deadline)
        ended = self._end_thread(deadline.left(at_least=STOP_SECONDS))
        unsettled, postponed = self._outbox.lost_at_exit()
        for entry in unsettled:
            self._settler.report(entry.text, NOT_SENT)
        for each in postponed:
            self._settler.report(each.text, Problem.from_json(each.problem))
        if ended:
            self._outbox.close()
            self._sender.close()
        return sent

    # --- Forks ------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Keep all threads out of SQLite: a forked process would inherit its locks as they are."""
        self._outbox.changed.acquire()

    def after_fork_in_parent(self) -> None:
        self._outbox.changed.release()

    def after_fork_in_child(self) -> None:
        """Begin with an empty outbox: the parent sends the events that it accepted."""
        self._thread = None
        self._outbox.abandon()  # if the spool cannot be opened now, nothing is accepted
        if not self._outbox.closed:
            self._open(forked=True)
