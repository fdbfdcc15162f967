"""The recorder: takes events, keeps them until the service has them, and sends them in batches meanwhile."""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from functools import partial, wraps
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar
from uuid import uuid4

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, retry_if_result, stop_before_delay

from usage_recorder import lifetime
from usage_recorder.answers import Acknowledged, Outcome, Problem, Rejected, Retry
from usage_recorder.buffers import Buffer, Entry, MemoryBuffer
from usage_recorder.errors import BufferFull, NotAcknowledged, RecorderClosed, SpoolFailed, UsageRejected
from usage_recorder.events import Quantity, UsageEvent, aware, exact
from usage_recorder.retries import Attempt, Pauses, has_to_go_on, what_it_came_to
from usage_recorder.sender import ENVELOPE_BYTES, PATH, Credential, Sender, client_for, headers_of
from usage_recorder.spool import Spool

MAX_BATCH = 500
MAX_BODY_BYTES = 900_000
"""The service refuses bodies of more than 1 MB."""

CLAIM_REQUESTS = 3
"""A batch in a spool is claimed for as long as so many requests may take; then another process may send it."""

HANDLER_RESERVE_SECONDS = 0.5
"""What a Lambda handler keeps of its time to answer after flushing."""

STOP_SECONDS = 0.5
"""How long `close` waits for a try that is under way when its time is up."""

LEAST_SECONDS = 0.1
"""What a try is given even if the time is up when it begins."""

ANSWER_RESERVE_SECONDS = 0.1
"""By how much a try ends before the time of who waits for it, so that it can say what went wrong."""

NOT_SENT = Problem(0, "not_sent", "the recorder was closed before the service had answered")

log = logging.getLogger("usage_recorder")

P = ParamSpec("P")
R = TypeVar("R")
OnRejected = Callable[[UsageEvent, Problem], object]


class UsageRecorder:
    """Records usage with the service at `url`. Safe under threads; one a process is enough.

    Args:
        url: where the API answers, without `/api/...`.
        api_key: an internal key; or a function that gives it, called for every request.
        token: a JWT, instead of `api_key`; or a function that gives it, so that it can be renewed.
        spool: a file that keeps unsent events across restarts; processes may share it. Without, they are in memory.
        max_buffered: how many events may be unsent (in a spool: of all processes that share it).
        full_timeout: how many seconds `record` waits for room before it raises `BufferFull`.
        max_batch: how many events are sent together, at most 500.
        linger: how many seconds the first event of a batch waits for others.
        request_timeout: how many seconds the service may take to be connected to, and to answer for a batch.
        flush_timeout: how many seconds `flush` and `close` try, and `record_now` waits, unless told otherwise.
        on_rejected: called, from another thread, with every event that will not be recorded, and why.
        pauses: how long to wait between tries.
        http: makes the client, where TLS or a proxy need settings of their own.

    Raises:
        ValueError: an argument is not usable.
        SpoolFailed: the spool cannot be opened.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: Credential | None = None,
        token: Credential | None = None,
        spool: str | PathLike[str] | None = None,
        max_buffered: int = 10_000,
        full_timeout: float = 1.0,
        max_batch: int = MAX_BATCH,
        linger: float = 0.5,
        request_timeout: float = 30.0,
        flush_timeout: float = 10.0,
        on_rejected: OnRejected | None = None,
        pauses: Pauses | None = None,
        http: Callable[[], httpx.Client] | None = None,
    ) -> None:
        if httpx.URL(url).scheme not in {"http", "https"}:
            raise ValueError(f"url must begin with http:// or https://, not be {url!r}")
        if not 1 <= max_batch <= MAX_BATCH:
            raise ValueError(f"max_batch must be 1 to {MAX_BATCH}, not {max_batch}")
        self._url = url.rstrip("/") + PATH
        self._headers = headers_of(api_key, token)
        self._spool = Path(spool) if spool is not None else None
        self._max_buffered = max_buffered
        self._full_timeout = full_timeout
        self._max_batch = max_batch
        self._linger = linger
        self._request_timeout = request_timeout
        self._flush_timeout = flush_timeout
        self._on_rejected = on_rejected
        self._pauses = pauses or Pauses()
        self._make_http = http or partial(client_for, url)
        self._open()
        lifetime.watch(self)
        if self._spool:  # an earlier process may have left something
            with self._changed:
                self._ensure_thread()

    def _open(self, forked: bool = False) -> None:
        """All that processes must not share. A forked one waits for its own events, not for those it found."""
        self._changed = threading.Condition()
        self._buffer: Buffer = (
            Spool(self._spool, self._max_buffered, own_only=forked) if self._spool else MemoryBuffer(self._max_buffered)
        )
        self._sender = Sender(self._url, self._headers, self._request_timeout, self._make_http())
        self._thread: threading.Thread | None = None
        self._closed = self._stopped = False
        self._batch_size = self._max_batch
        self._left: int | None = None  # how many were unsent when the buffer was closed
        self._flushing = self._flushes = self._flushes_seen = 0
        self._not_before = 0.0

    # --- Recording ---------------------------------------------------------------------------

    def record(
        self,
        user_id: str,
        subscription_id: str,
        usage_type: str,
        quantity: Quantity = 1,
        metadata: Mapping[str, Any] | None = None,
        *,
        event_id: str | None = None,
        occurred_at: datetime | None = None,
    ) -> str:
        """Accept an event and give its id; it is sent in the background. With a spool it is on disk by then.

        The id and the time are made here unless given, so that every try sends the same event.

        Raises:
            ValueError: it can never be an event: its quantity is none, or it has no JSON form.
            BufferFull: there was no room for it for `full_timeout` seconds.
            RecorderClosed, SpoolFailed: it was not accepted either.
        """
        event = _event(user_id, subscription_id, usage_type, quantity, metadata, at=occurred_at, event_id=event_id)
        self._accept(event)
        return event.event_id

    def record_now(
        self,
        user_id: str,
        subscription_id: str,
        usage_type: str,
        quantity: Quantity = 1,
        metadata: Mapping[str, Any] | None = None,
        *,
        event_id: str | None = None,
        occurred_at: datetime | None = None,
        timeout: float | None = None,
    ) -> Acknowledged:
        """Record an event at once, and return when the service has acknowledged it.

        It takes no longer than `timeout` seconds whatever the service, the network or what gives the credentials does,
        the wait for room included. Only a spool's file can take longer, while another process has it locked.

        Raises:
            UsageRejected: the service will not have it.
            NotAcknowledged: it was not answered for within `timeout` seconds. It stays buffered and is sent on.
            ValueError, BufferFull, RecorderClosed, SpoolFailed: as `record`; after any of these it is not buffered.
        """
        event = _event(user_id, subscription_id, usage_type, quantity, metadata, at=occurred_at, event_id=event_id)
        seconds = self._flush_timeout if timeout is None else timeout
        deadline = time.monotonic() + seconds
        entry = self._accept(event, taken_for=seconds + self._claim_seconds, within=seconds)
        outcome: Outcome = Retry("it was interrupted")
        try:
            outcome = self._answer_by(deadline, entry, seconds)
        finally:
            self._conclude(entry, outcome)
        if isinstance(outcome, Rejected):
            raise UsageRejected(event, outcome.problem)
        if isinstance(outcome, Retry):
            raise NotAcknowledged(event.event_id, outcome.reason)
        return outcome

    @property
    def unsent(self) -> int:
        """How many accepted events the service has not answered for (in a spool: of all processes)."""
        with self._changed:
            return self._left if self._left is not None else len(self._buffer)

    def _accept(self, event: UsageEvent, taken_for: float = 0.0, within: float = math.inf) -> Entry:
        text = event.to_json()
        with self._changed:
            entry = self._wait_for(lambda: self._add(text, taken_for), min(self._full_timeout, within))
            if entry is None:
                raise BufferFull(f"{self._max_buffered} events are unsent; event {event.event_id} was not accepted")
            if not taken_for:
                self._ensure_thread()
            self._changed.notify_all()
        return entry

    def _add(self, text: str, taken_for: float) -> Entry | None:
        if self._closed:
            raise RecorderClosed("the recorder is closed; the event was not accepted")
        return self._buffer.add(text, taken_for)

    # --- Ending ------------------------------------------------------------------------------

    def flush(self, timeout: float | None = None) -> bool:
        """Send what was accepted so far; whether all of it is settled within `timeout` seconds.

        A flush cuts short the recorder's own pauses, so it is at least one try, but not what Retry-After asks for. In
        a forked process it is about what that process accepted.
        """
        seconds = self._flush_timeout if timeout is None else timeout
        with self._changed:
            last = self._buffer.last_number()
            self._flushing += 1
            self._flushes += 1
            self._changed.notify_all()
            try:
                if not self._buffer.holds_up_to(last):
                    return True
                if self._ensure_thread():
                    return self._wait_for(lambda: not self._buffer.holds_up_to(last), seconds)
            finally:
                self._flushing -= 1
        return self._send_here(last, seconds)

    def close(self, timeout: float | None = None) -> bool:
        """Take no more events, flush, and end the thread; whether all was sent.

        What is left stays in the spool. Without one it is given up: logged, and told to `on_rejected`. No thread is
        started any more, which Python forbids while it exits: where there is none, this one sends.
        """
        seconds = self._flush_timeout if timeout is None else timeout
        deadline = time.monotonic() + seconds
        with self._changed:
            if self._closed:
                return not self.unsent
            self._closed = True
            self._changed.notify_all()
        sent = self.flush(seconds)
        ended = self._end_thread(max(STOP_SECONDS, deadline - time.monotonic()))
        with self._changed:
            given_up = self._buffer.unsettled()
        for entry in given_up:
            self._report(entry, NOT_SENT)
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def flushing(self, handler: Callable[P, R]) -> Callable[P, R]:
        """Decorate a Lambda handler: flush before it answers, because afterwards the process is frozen.

        It takes at most `flush_timeout` seconds, and leaves half a second of the invocation's time.
        """

        @wraps(handler)
        def flushed(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return handler(*args, **kwargs)
            finally:
                self._flush_invocation(args)

        return flushed

    def _flush_invocation(self, arguments: tuple[Any, ...]) -> None:
        """Whatever happens here, the handler's own result or exception is what counts."""
        try:
            if not self.flush(self._time_left(arguments)):
                log.warning("%d usage events are unsent at the end of the invocation", self.unsent)
        except Exception:
            log.exception("usage events cannot be flushed at the end of the invocation")

    def _time_left(self, arguments: tuple[Any, ...]) -> float:
        remaining = next(
            (each.get_remaining_time_in_millis for each in arguments if hasattr(each, "get_remaining_time_in_millis")),
            None,
        )
        if remaining is None:
            return self._flush_timeout
        return min(self._flush_timeout, max(0.0, float(remaining()) / 1000 - HANDLER_RESERVE_SECONDS))

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
            return not self._buffer.holds_up_to(last)

    def _send_batch(self, ended: Callable[[], bool], deadline: float) -> Attempt:
        with self._changed:
            self._flushes_seen = self._flushes
            self._await_batch(ended, deadline)
            if ended():
                return Attempt()
            batch = self._buffer.take(self._batch_size, MAX_BODY_BYTES - ENVELOPE_BYTES, self._claim_seconds)
        if not batch:
            return Attempt()
        try:
            attempt = self._deliver(batch, max(LEAST_SECONDS, deadline - time.monotonic()))
        finally:
            self._release(batch)
        self._adapt(attempt)
        return attempt

    def _adapt(self, attempt: Attempt) -> None:
        """Halve the batches of a service that fails, and double them when it does not.

        It may be too slow for so many events, or fail for one of them, which then holds up no others: what was not
        settled goes behind them.
        """
        if attempt.progressed:
            self._batch_size = min(self._max_batch, 2 * self._batch_size)
        elif not attempt.operator:
            self._batch_size = max(1, len(attempt.outcomes) // 2)

    def _await_batch(self, ended: Callable[[], bool], deadline: float) -> None:
        """Wait for an event, then for a full batch or the end of `linger`, or somebody who cannot wait."""
        self._wait_for(lambda: ended() or self._buffer.waiting(1) > 0, deadline - time.monotonic())
        self._wait_for(
            lambda: ended() or self._flushing or self._buffer.waiting(self._batch_size) >= self._batch_size,
            self._linger,
        )

    def _pause(self, state: RetryCallState) -> float:
        assert state.outcome
        if not state.outcome.failed:
            self._not_before = time.monotonic() + state.outcome.result().after
        return self._pauses.after(state)

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
        log.log(level, "%d usage events are kept, next try in %.1f s: %s", count, pause, reason)

    # --- What both threads do ---------------------------------------------------------------

    @property
    def _claim_seconds(self) -> float:
        return CLAIM_REQUESTS * self._request_timeout

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
            wait=self._pauses.after,
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
        if isinstance(outcome, Retry):
            with self._changed:
                self._ensure_thread()

    def _deliver(self, batch: list[Entry], within: float) -> Attempt:
        attempt = Attempt(self._sender.send([entry.text for entry in batch], within))
        self._settle(batch, attempt.outcomes)
        return attempt

    def _settle(self, batch: list[Entry], outcomes: Sequence[Outcome]) -> None:
        """Report events that are rejected, and settle all that are answered for."""
        final = []
        for entry, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Rejected):
                self._report(entry, outcome.problem)
            if not isinstance(outcome, Retry):
                final.append(entry)
        if final:
            with self._changed:
                self._buffer.settle(final)
                self._changed.notify_all()

    def _release(self, entries: Iterable[Entry]) -> None:
        with self._changed:
            self._buffer.release(entries)
            self._changed.notify_all()

    def _report(self, entry: Entry, problem: Problem) -> None:
        """Before the event is settled: rather twice than, if the process ends in between, not at all."""
        event = UsageEvent.from_json(entry.text)
        log.error(
            "usage event %s is not recorded: %s (user %s, subscription %s, %s %s at %s)",
            *(event.event_id, problem, event.user_id, event.subscription_id),
            *(event.quantity, event.usage_type, event.occurred_at.isoformat()),
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


def _event(
    user_id: str,
    subscription_id: str,
    usage_type: str,
    quantity: Quantity,
    metadata: Mapping[str, Any] | None,
    *,
    event_id: str | None,
    at: datetime | None,
) -> UsageEvent:
    return UsageEvent(
        event_id=event_id or uuid4().hex,
        user_id=user_id,
        subscription_id=subscription_id,
        usage_type=usage_type,
        quantity=exact(quantity),
        occurred_at=aware(at) if at else datetime.now(UTC),
        metadata=metadata or {},
    )
