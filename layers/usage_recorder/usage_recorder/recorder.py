"""The recorder: what a service calls. It makes events of what it is told, and hands them to their delivery."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial, wraps
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar
from uuid import uuid4

import httpx

from usage_recorder import lifetime
from usage_recorder.answers import Acknowledged, Postponed, Rejected, Retry
from usage_recorder.buffers import Buffer, MemoryBuffer
from usage_recorder.delivery import Delivery, OnRejected, Settings
from usage_recorder.errors import BufferFull, NotAcknowledged, UsageRejected
from usage_recorder.events import Quantity, UsageEvent, aware, event_id_of, exact, identifier
from usage_recorder.parking import ParkedEvent
from usage_recorder.retries import Pauses
from usage_recorder.sender import PATH, Credential, Sender, client_for, headers_of
from usage_recorder.spool import Spool

MAX_BATCH = 500

HANDLER_RESERVE_SECONDS = 0.5
"""What a Lambda handler keeps of its time to answer after flushing."""

log = logging.getLogger("usage_recorder")

P = ParamSpec("P")
R = TypeVar("R")


class UsageRecorder:
    """Records usage with the service at `url`. Safe under threads; one a process is enough.

    Args:
        url: where the API answers, without `/api/...`.
        api_key: an API key; or a function that gives it, called for every request.
        token: a JWT, instead of `api_key`; or a function that gives it, so that it can be renewed.
        spool: a file that keeps unsent and parked events across restarts; processes may share it. Without, they are in
            memory.
        max_buffered: how many events may be unsent (in a spool: of all processes that share it).
        max_parked: how many rejected events are kept in memory, the newest of them. A spool keeps all.
        full_timeout: how many seconds `record` waits for room before it raises `BufferFull`.
        max_batch: how many events are sent together, at most 500.
        linger: how many seconds the first event of a batch waits for others.
        request_timeout: how many seconds the service may take to be connected to, and to answer for a batch.
        flush_timeout: how many seconds `flush` and `close` try, and `record_now` waits, unless told otherwise.
        on_rejected: called, from another thread, with every event that was rejected, and why.
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
        max_parked: int = 1_000,
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
        address = url.rstrip("/") + PATH
        headers = headers_of(api_key, token)
        make_http = http or partial(client_for, url)

        def make_buffer(forked: bool) -> Buffer:
            if spool is None:
                return MemoryBuffer(max_buffered, max_parked)
            return Spool(Path(spool), max_buffered, own_only=forked)

        def make_sender() -> Sender:
            return Sender(address, headers, request_timeout, make_http())

        settings = Settings(max_batch, linger, full_timeout, request_timeout, flush_timeout, pauses or Pauses())
        self._max_buffered = max_buffered
        self._flush_timeout = flush_timeout
        self._delivery = Delivery(make_buffer, make_sender, settings, on_rejected)
        # Not this recorder: the delivery is also held by its thread, so none with something to send is forgotten.
        lifetime.watch(self._delivery)
        if spool is not None:
            self._delivery.start()

    # --- Recording ---------------------------------------------------------------------------

    def record(
        self,
        user_id: str,
        subscription_id: str,
        usage_type: str,
        quantity: Quantity,
        metadata: Mapping[str, Any] | None = None,
        *,
        event_id: str | None = None,
        occurred_at: datetime | None = None,
    ) -> str:
        """Accept an event and give its id; it is sent in the background. With a spool it is on disk by then.

        The id is made here unless given, so that every try sends the same event. A call that may be repeated, as by a
        job that is run again, needs an `event_id` of its own. `occurred_at` is when the work was done, if that is
        known, never the time of the call: that is sent anyway, and does not make a repeated call another event.

        Raises:
            ValueError: it can never be an event: an id or the quantity is none, or it has no JSON form.
            BufferFull: there was no room for it for `full_timeout` seconds.
            RecorderClosed, SpoolFailed: it was not accepted either.
        """
        event = _event(
            user_id, subscription_id, usage_type, quantity, metadata, event_id=event_id, occurred_at=occurred_at
        )
        if self._delivery.accept(event.to_json()) is None:
            raise self._full(event)
        return event.event_id

    def record_now(
        self,
        user_id: str,
        subscription_id: str,
        usage_type: str,
        quantity: Quantity,
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
            UsageRejected: the service refused it. It is parked.
            NotAcknowledged: it was not answered for within `timeout` seconds, or refused for now. It is sent on.
            ValueError, BufferFull, RecorderClosed, SpoolFailed: as `record`; after any of these it is not buffered.
        """
        event = _event(
            user_id, subscription_id, usage_type, quantity, metadata, event_id=event_id, occurred_at=occurred_at
        )
        seconds = self._flush_timeout if timeout is None else timeout
        deadline = time.monotonic() + seconds
        entry = self._delivery.accept(event.to_json(), seconds + self._delivery.claim_seconds, seconds)
        if entry is None:
            raise self._full(event)
        outcome = self._delivery.send_now(entry, deadline, seconds)
        if isinstance(outcome, Rejected):
            raise UsageRejected(event, outcome.problem)
        if isinstance(outcome, Postponed):
            raise NotAcknowledged(event.event_id, str(outcome.problem))
        if isinstance(outcome, Retry):
            raise NotAcknowledged(event.event_id, outcome.reason)
        return outcome

    @property
    def unsent(self) -> int:
        """How many accepted events are neither acknowledged nor finally rejected (in a spool: of all processes)."""
        return self._delivery.unsent

    def _full(self, event: UsageEvent) -> BufferFull:
        return BufferFull(f"{self._max_buffered} events are unsent; event {event.event_id} was not accepted")

    # --- What the service refused ----------------------------------------------------------------

    def parked(self) -> list[ParkedEvent]:
        """The events that the service refused, the oldest first. With a spool: of all processes.

        Raises:
            RecorderClosed, SpoolFailed: they cannot be read.
        """
        return [ParkedEvent.of(each) for each in self._delivery.parked()]

    def retry_parked(self, events: Iterable[ParkedEvent] | None = None) -> int:
        """Send parked events again, all unless `events` says which; how many these are.

        They keep their times, but for a `reportedAt` that the service refused: that becomes the present time.

        Raises:
            RecorderClosed, SpoolFailed: they stay parked.
        """
        chosen = self.parked() if events is None else events
        return self._delivery.unpark([each.number for each in chosen])

    def drop_parked(self, events: Iterable[ParkedEvent]) -> int:
        """Forget parked events, so that they are never billed; how many there were.

        Raises:
            RecorderClosed, SpoolFailed: they stay parked.
        """
        return self._delivery.drop([each.number for each in events])

    # --- Ending ------------------------------------------------------------------------------

    def flush(self, timeout: float | None = None) -> bool:
        """Send what was accepted so far; whether all of it is acknowledged or rejected within `timeout` seconds.

        A flush cuts short the recorder's own pauses, so it is at least one try, but not what Retry-After asks for. It
        does not wait for events that are refused for now, but is not true with one of them either. In a forked
        process it is about what that process accepted.
        """
        return self._delivery.flush(self._flush_timeout if timeout is None else timeout)

    def close(self, timeout: float | None = None) -> bool:
        """Take no more events, flush, and end the thread; whether all was sent.

        What is left stays in the spool. Without one it is given up: logged, and told to `on_rejected`.
        """
        return self._delivery.close(timeout)

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


def _event(
    user_id: str,
    subscription_id: str,
    usage_type: str,
    quantity: Quantity,
    metadata: Mapping[str, Any] | None,
    *,
    event_id: str | None,
    occurred_at: datetime | None,
) -> UsageEvent:
    return UsageEvent(
        event_id=uuid4().hex if event_id is None else event_id_of(event_id),
        user_id=identifier(user_id, "user_id"),
        subscription_id=identifier(subscription_id, "subscription_id"),
        usage_type=identifier(usage_type, "usage_type"),
        quantity=exact(quantity),
        occurred_at=aware(occurred_at) if occurred_at else None,
        reported_at=None if occurred_at else datetime.now(UTC),
        metadata=metadata or {},
    )
