"""Delivers what was accepted: sends batches from a thread until the service has them, and parks what it refuses."""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, retry_if_result, stop_before_delay

from usage_recorder.answers import Acknowledged, Outcome, Postponed, Problem, Rejected, Retry
from usage_recorder.buffers import Buffer, Entry, MemoryBuffer, ParkedEntry
from usage_recorder.errors import RecorderClosed, SpoolFailed
from usage_recorder.events import UsageEvent
from usage_recorder.parking import identity_of, parked, passes, to_retry
from usage_recorder.retries import Attempt, Pauses, has_to_go_on, what_it_came_to
from usage_recorder.sender import ENVELOPE_BYTES, Sender

MAX_BODY_BYTES = 900_000
"""The service refuses bodies of more than 1 MB."""

CLAIM_REQUESTS = 3
"""A batch in a spool is claimed for as long as so many requests may take; then another process may send it."""

STOP_SECONDS = 0.5
"""How long `close` waits for a try that is under way when its time is up."""

LEAST_SECONDS = 0.1
"""What a try is given even if the time is up when it begins."""

ANSWER_RESERVE_SECONDS = 0.1
"""By how much a try ends before the time of who waits for it, so that it can say what went wrong."""

NOT_SENT = Problem(0, "not_sent", "the recorder was closed before the service had answered")

log = logging.getLogger("usage_recorder")

R = TypeVar("R")
OnRejected = Callable[[UsageEvent, Problem], object]


@dataclass(frozen=True, slots=True)
class Settings:
    """How a delivery goes about it; times in seconds. `UsageRecorder` says what each means."""

    max_batch: int
    linger: float
    full_timeout: float
    request_timeout: float
    flush_timeout: float
    pauses: Pauses = field(default_factory=Pauses)


class Delivery:
    """Holds events in a buffer and sends them. Safe under threads, and made anew in a forked process."""

    def __init__(
        self,
        make_buffer: Callable[[bool], Buffer],
        make_sender: Callable[[], Sender],
        settings: Settings,
        on_rejected: OnRejected | None,
    ) -> None:
        """`make_buffer` is told whether the process was forked: then it waits for its own events, not for others'."""
        self._make_buffer = make_buffer
        self._make_sender = make_sender
        self._settings = settings
        self._on_rejected = on_rejected
        self._open()

    def _open(self, forked: bool = False) -> None:
        """All that processes must not share."""
        self._changed = threading.Condition()
        self._buffer = self._make_buffer(forked)
        self._sender = self._make_sender()
        self._thread: threading.Thread | None = None
        self._closed = self._stopped = False
        self._batch_size = self._settings.max_batch
        self._left: int | None = None  # how many were unsent when the buffer was closed
        self._flushing = self._flushes = self._flushes_seen = 0
        self._not_before = 0.0

    def start(self) -> None:
        """Send what an earlier process may have left."""
        with self._changed:
            self._ensure_thread()

    # --- Taking ------------------------------------------------------------------------------

    @property
    def unsent(self) -> int:
        """How many accepted events have no final answer yet (in a spool: of all processes)."""
        with self._changed:
            return self._left if self._left is not None else len(self._buffer)

    @property
    def claim_seconds(self) -> float:
        """For how long others leave alone what is being sent."""
        return CLAIM_REQUESTS * self._settings.request_timeout

    def accept(self, text: str, taken_for: float = 0.0, within: float = math.inf) -> Entry | None:
        """Hold an event's JSON; None if there was no room for it for `full_timeout` or `within` seconds.

        `taken_for`: seconds for which the caller sends it, with `send_now`, and nobody else.

        Raises:
            RecorderClosed, SpoolFailed: it was not accepted either.
        """
        with self._changed:
            entry = self._wait_for(lambda: self._add(text, taken_for), min(self._settings.full_timeout, within))
            if entry and not taken_for:
                self._ensure_thread()
            self._changed.notify_all()
        return entry

    def _add(self, text: str, taken_for: float) -> Entry | None:
        self._require_open()
        return self._buffer.add(text, taken_for)

    def _require_open(self) -> None:
        if self._closed:
            raise RecorderClosed("the recorder is closed")

    def send_now(self, entry: Entry, deadline: float, seconds: float) -> Outcome:
        """What became of an event by `deadline`, in `time.monotonic`'s seconds, for which the caller gave `seconds`."""
        outcome: Outcome = Retry("it was interrupted")
        try:
            outcome = self._judged(entry, self._answer_by(deadline, entry, seconds))
        finally:
            self._conclude(entry, outcome)
        return outcome

    # --- Parked events -------------------------------------------------------------------------

    def parked(self) -> list[ParkedEntry]:
        with self._changed:
            self._require_open()
            return self._buffer.parked()

    def unpark(self, numbers: Iterable[int]) -> int:
        with self._changed:
            self._require_open()
            count = self._buffer.unpark(numbers, lambda each: to_retry(each, datetime.now(UTC)))
            self._ensure_thread()
            self._changed.notify_all()
            return count

    def drop(self, numbers: Iterable[int]) -> int:
        with self._changed:
            self._require_open()
            return self._buffer.drop(numbers)

    # --- Ending ------------------------------------------------------------------------------

    def flush(self, seconds: float) -> bool:
        """Send what was accepted so far; whether all of it is settled. It waits for nothing that is postponed."""
        with self._changed:
            last = self._buffer.last_number()
            self._flushing += 1
            self._flushes += 1
            self._changed.notify_all()
            try:
                if not self._buffer.holds_up_to(last):
                    return self._is_settled(last)
                if self._ensure_thread():
                    self._wait_for(lambda: not self._buffer.holds_up_to(last), seconds)
                    return self._is_settled(last)
            finally:
                self._flushing -= 1
        return self._send_here(last, seconds)

    def _is_settled(self, last: int) -> bool:
        return not self._buffer.holds_up_to(last) and not self._buffer.postpones_up_to(last)

    def close(self, timeout: float | None = None) -> bool:
        """Take no more events, flush, and end the thread; whether all was sent.

        What is left stays in the spool. Without one it is given up: logged, and told to `on_rejected`. No thread is
        started any more, which Python forbids while it exits: where there is none, this one sends.
        """
        seconds = self._settings.flush_timeout if timeout is None else timeout
        deadline = time.monotonic() + seconds
        with self._changed:
            if self._closed:
                return not self.unsent
            self._closed = True
            self._changed.notify_all()
        sent = self.flush(seconds)
        ended = self._end_thread(max(STOP_SECONDS, deadline - time.monotonic()))
        with self._changed:
            unsettled, postponed = self._buffer.unsettled(), self._buffer.postponed()
        for entry in unsettled:
            self._report(entry.text, NOT_SENT)
        for each in postponed:
            self._report(each.text, Problem.from_json(each.problem))
        if ended:
            self._shut()
        return sent

    def _end_thread(self, seconds: float) -> bool:
        """Whether it ended; a request that is not answered keeps it, and its resources, until the process ends."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join(seconds)
        return not (self._thread and self._thread.is_alive())

    def _shut(self) -> None:
        with self._changed:
            self._left = len(self._buffer)
            self._buffer.close()
        self._sender.close()

    def before_fork(self) -> None:
        """Let no thread be inside SQLite, whose own locks a forked process would inherit as they are."""
        self._changed.acquire()

    def after_fork_in_parent(self) -> None:
        self._changed.release()

    def after_fork_in_child(self) -> None:
        """Begin anew: what the other process accepted it sends itself."""
        self._changed = threading.Condition()
        self._thread = None
        self._buffer.abandon()
        self._buffer = MemoryBuffer(0)  # should the spool not open, nothing is accepted
        if not self._closed:
            self._open(forked=True)

    # --- The thread ----------------------------------------------------------------------------

    def _ensure_thread(self) -> bool:
        """Whether there is one. What was accepted stays so where none can be started: the next call tries again."""
        if self._thread is None and not self._closed:
            thread = threading.Thread(target=self._work, name="usage-recorder", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # Python exits, or there are too many
                log.warning("usage events are kept until they are flushed: %s", error)
            else:
                self._thread = thread
        return self._thread is not None

    def _work(self, over: Callable[[], bool] | None = None, deadline: float = math.inf) -> None:
        """Send what comes, until the recorder stops; or until `over`, which is asked with the lock held."""

        def ended() -> bool:
            with self._changed:
                return self._stopped or time.monotonic() >= deadline or (over is not None and over())

        send = Retrying(
            retry=retry_if_result(has_to_go_on) | retry_if_exception_type(Exception),
            wait=self._pause,
            stop=lambda _: ended(),
            sleep=lambda seconds: self._sleep(min(seconds, deadline - time.monotonic())),
            before_sleep=self._log_retry,
            retry_error_callback=lambda _: None,
        )
        while not ended():
            send(lambda: self._send_batch(ended, deadline))

    def _send_here(self, last: int, seconds: float) -> bool:
        """Send in the calling thread what has numbers up to `last`; whether all of it is settled."""
        deadline = time.monotonic() + seconds
        with self._changed:
            self._flushing += 1
        try:
            self._work(lambda: not self._buffer.holds_up_to(last), deadline)
        finally:
            with self._changed:
                self._flushing -= 1
        with self._changed:
            return self._is_settled(last)

    def _send_batch(self, ended: Callable[[], bool], deadline: float) -> Attempt:
        with self._changed:
            self._flushes_seen = self._flushes
            self._await_batch(ended, deadline)
            if ended():
                return Attempt()
            batch = self._buffer.take(self._batch_size, MAX_BODY_BYTES - ENVELOPE_BYTES, self.claim_seconds)
        if not batch:
            return Attempt()
        attempt = self._deliver(batch, max(LEAST_SECONDS, deadline - time.monotonic()))
        self._adapt(attempt)
        return attempt

    def _deliver(self, batch: list[Entry], within: float) -> Attempt:
        unsettled = batch
        try:
            answered = self._sender.send([entry.text for entry in batch], within)
            outcomes = [self._judged(entry, outcome) for entry, outcome in zip(batch, answered, strict=True)]
            self._settle(batch, outcomes)
            unsettled = [entry for entry, each in zip(batch, outcomes, strict=True) if isinstance(each, Retry)]
        finally:
            if unsettled:
                self._release(unsettled)
        return Attempt(outcomes)

    def _adapt(self, attempt: Attempt) -> None:
        """Halve the batches of a service that fails, and double them when it does not.

        It may be too slow for so many events, or fail for one of them, which then holds up no others: what was not
        settled goes behind them.
        """
        if attempt.progressed:
            self._batch_size = min(self._settings.max_batch, 2 * self._batch_size)
        elif not attempt.operator:
            self._batch_size = max(1, len(attempt.outcomes) // 2)

    def _await_batch(self, ended: Callable[[], bool], deadline: float) -> None:
        """Wait for an event, then for a full batch or the end of `linger`, or somebody who cannot wait."""
        self._wait_for(lambda: ended() or self._buffer.waiting(1) > 0, deadline - time.monotonic())
        self._wait_for(
            lambda: ended() or self._flushing or self._buffer.waiting(self._batch_size) >= self._batch_size,
            self._settings.linger,
        )

    def _pause(self, state: RetryCallState) -> float:
        assert state.outcome
        if not state.outcome.failed:
            self._not_before = time.monotonic() + state.outcome.result().after
        return self._settings.pauses.after(state)

    def _sleep(self, seconds: float) -> None:
        def cut_short() -> bool:
            flushed = self._flushes != self._flushes_seen
            return self._stopped or (flushed and time.monotonic() >= self._not_before)

        with self._changed:
            self._wait_for(cut_short, seconds)

    def _log_retry(self, state: RetryCallState) -> None:
        assert state.outcome
        pause = state.next_action.sleep if state.next_action else 0
        if state.outcome.failed:
            log.error("usage events cannot be sent, next try in %.1f s", pause, exc_info=state.outcome.exception())
            return
        attempt: Attempt = state.outcome.result()
        level = logging.ERROR if attempt.operator else logging.WARNING
        count, reason = len(attempt.retries), attempt.retries[0].reason
        message = "%d usage events are kept, %s are unsent in all, next try in %.1f s: %s"
        log.log(level, message, count, self._unsent_text(), pause, reason)

    def _unsent_text(self) -> str:
        """For the log, which must not fail with the spool."""
        try:
            return str(self.unsent)
        except SpoolFailed:
            return "an unknown number"

    # --- Sending one event now -----------------------------------------------------------------

    def _answer_by(self, deadline: float, entry: Entry, seconds: float) -> Outcome:
        """What became of an event; asked for in another thread, because nothing else bounds how long that takes.

        That thread may outlive the deadline. What it is told then is forgotten: the event is sent once more.
        """
        answer: Future[Outcome] = Future()

        def ask() -> None:
            try:
                answer.set_result(self._ask_until(deadline - ANSWER_RESERVE_SECONDS, entry))
            except BaseException as error:
                answer.set_exception(error)
                raise

        try:
            threading.Thread(target=ask, name="usage-recorder-now", daemon=True).start()
        except RuntimeError:  # Python exits, or there are too many threads
            ask()
        try:
            return answer.result(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            return Retry(f"no answer within {seconds:g} s")

    def _ask_until(self, deadline: float, entry: Entry) -> Outcome:
        """Send one event, over and over until it is answered for or the time is up."""

        def left() -> float:
            return max(LEAST_SECONDS, deadline - time.monotonic())

        late = stop_before_delay(left())
        sending = Retrying(
            retry=retry_if_result(has_to_go_on),
            wait=self._settings.pauses.after,
            stop=lambda state: self._stopped or late(state),
            retry_error_callback=what_it_came_to,
        )
        attempt: Attempt = sending(lambda: Attempt(self._sender.send([entry.text], left())))
        return attempt.outcomes[0]

    def _conclude(self, entry: Entry, outcome: Outcome) -> None:
        """The event was accepted, so a spool that fails now changes nothing in what is true of it: it is logged.

        The spool then still holds the event, and sends it once more when the claim ends; the service has it already.
        """
        try:
            self._settle([entry], [outcome])
            if isinstance(outcome, Retry):
                self._release([entry])
        except SpoolFailed:
            log.exception("a usage event stays in the spool and will be sent again")
        if isinstance(outcome, Retry | Postponed):
            with self._changed:
                self._ensure_thread()

    # --- What becomes of events ------------------------------------------------------------------

    def _judged(self, entry: Entry, outcome: Outcome) -> Outcome:
        """Return `outcome`, or that the event is postponed if the cause of its rejection may pass with time."""
        if not isinstance(outcome, Rejected):
            return outcome
        event, now = UsageEvent.from_json(entry.text), time.time()
        if not passes(outcome.problem, event, datetime.now(UTC)):
            return outcome
        retry_at = self._settings.pauses.retry_at(now if entry.since is None else entry.since, now)
        return outcome if retry_at is None else Postponed(outcome.problem, retry_at)

    def _settle(self, batch: Sequence[Entry], outcomes: Sequence[Outcome]) -> None:
        """Forget acknowledged events, report rejected ones, and park these and the postponed ones."""
        done: list[Entry] = []
        refused: list[ParkedEntry] = []
        postponed: list[Postponed] = []
        for entry, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Acknowledged):
                done.append(entry)
            elif isinstance(outcome, Postponed):
                refused.append(parked(entry, outcome.problem, time.time(), outcome.retry_at))
                postponed.append(outcome)
            elif isinstance(outcome, Rejected):
                self._report(entry.text, outcome.problem)
                refused.append(parked(entry, outcome.problem, time.time(), None))
        given_up: list[ParkedEntry] = []
        with self._changed:
            if done:
                # Perhaps a job was run again once the cause was fixed: then nobody needs to look after the event.
                same = {identity_of(entry.text) for entry in done} if self._buffer.has_parked() else set()
                self._buffer.settle(done, same)
            if refused:
                given_up = self._buffer.park(refused)
            if done or refused:
                self._changed.notify_all()
        if postponed:
            message = "%d usage events are refused for now and will be sent again, %s are unsent in all: %s"
            log.warning(message, len(postponed), self._unsent_text(), postponed[0].problem)
        for each in given_up:
            self._give_up(each)

    def _give_up(self, given_up: ParkedEntry) -> None:
        """Log an event that is lost from memory, and report it unless that was done when it was rejected."""
        event_id = UsageEvent.from_json(given_up.text).event_id
        log.warning("usage event %s is no longer kept: too many are parked in memory", event_id)
        if given_up.retry_at is not None:
            self._report(given_up.text, Problem.from_json(given_up.problem))

    def _release(self, entries: Iterable[Entry]) -> None:
        with self._changed:
            self._buffer.release(entries, self._settings.pauses.postponed_first)
            self._changed.notify_all()

    def _report(self, text: str, problem: Problem) -> None:
        """Before the event is parked: rather twice than, if the process ends in between, not at all."""
        event = UsageEvent.from_json(text)
        log.error(
            "usage event %s is not recorded: %s (user %s, subscription %s, %s %s at %s)",
            *(event.event_id, problem, event.user_id, event.subscription_id),
            *(event.quantity, event.usage_type, event.when.isoformat()),
        )
        if self._on_rejected is not None:
            try:
                self._on_rejected(event, problem)
            except Exception:
                log.exception("on_rejected failed for usage event %s", event.event_id)

    def _wait_for(self, met: Callable[[], R], seconds: float) -> R:
        """What `met` gives once that is true, or in the end. The lock is held, but not while waiting."""
        deadline = time.monotonic() + seconds
        while not (value := met()):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            wait = min(left, self._buffer.poll_seconds or math.inf)
            self._changed.wait(None if wait == math.inf else wait)
        return value
