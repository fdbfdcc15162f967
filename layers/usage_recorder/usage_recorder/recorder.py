"""The recorder: the calls that other services use. It makes events and hands them to their delivery."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar
from uuid import uuid4

import httpx

from usage_recorder import lifetime
from usage_recorder.buffers import Buffer
from usage_recorder.credentials import Credential, headers_of
from usage_recorder.delivery import Delivery
from usage_recorder.errors import BufferFull, NotAcknowledged, UsageRejected
from usage_recorder.events import UsageEvent
from usage_recorder.lambda_handlers import flush_after
from usage_recorder.memory import MemoryBuffer
from usage_recorder.outcomes import Acknowledged, Postponed, Rejected, Retry
from usage_recorder.parking import ParkedEvent
from usage_recorder.retries import Pauses
from usage_recorder.sender import PATH, Sender, client_for
from usage_recorder.settings import Settings
from usage_recorder.settling import OnRejected
from usage_recorder.spool import Spool
from usage_recorder.validation import Quantity, aware_time, exact_quantity, valid_event_id, valid_identifier

MAX_BATCH = 500

P = ParamSpec("P")
R = TypeVar("R")


class UsageRecorder:
    """Record usage with the service at `url`. Safe under threads; one recorder per process is enough.

    Args:
        url: the API's base URL, without `/api/...`.
        api_key: an API key, or a function that returns one, called for every request.
        token: a JWT, instead of `api_key`; or a function that returns one, so that it can be renewed.
        spool: a file that keeps unsent and parked events across restarts; processes may share it. Without it events
            are kept in memory.
        max_buffered: maximum number of unsent events (in a spool: of all processes that share it).
        max_parked: maximum number of rejected events kept in memory, the newest of them. A spool keeps all.
        full_timeout: seconds that `record` waits for room before it raises `BufferFull`.
        max_batch: maximum number of events sent together, at most 500.
        linger: seconds that the first event of a batch waits for others.
        request_timeout: seconds that the service may take to accept a connection, and to respond to a batch.
        flush_timeout: default time limit, in seconds, of `flush`, `close` and `record_now`.
        on_rejected: called from another thread with every rejected event and the reason.
        pauses: the pauses between attempts.
        http: a function that makes the client, if TLS or a proxy need settings of their own.

    Raises:
        ValueError: an argument is invalid.
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
        # Watch the delivery, not this recorder: its thread keeps it alive as long as there is something to send.
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
        """Accept an event and return its id; it is sent in the background. With a spool it is on disk by then.

        An id is generated unless given, and every attempt sends the same one. A call that may be repeated, such as by
        a job that is run again, needs an `event_id` of its own. `occurred_at` is when the work was done, if that is
        known. Never pass the time of the call: it is sent anyway, and does not make a repeated call another event.

        Raises:
            ValueError: it can never be a valid event: an id, the quantity or the metadata is invalid.
            BufferFull: there was no room for it for `full_timeout` seconds.
            RecorderClosed, SpoolFailed: it was not accepted either.
        """
        event = _new_event(
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

        It takes at most `timeout` seconds, including the wait for room, however slow the service, the network or a
        function that provides credentials is. Only a spool's file can add to it, while another process has it locked.

        Raises:
            UsageRejected: the service refused it. It is parked.
            NotAcknowledged: no response within `timeout` seconds, or refused for now. It is still sent.
            ValueError, BufferFull, RecorderClosed, SpoolFailed: as for `record`; the event was not accepted.
        """
        event = _new_event(
            user_id, subscription_id, usage_type, quantity, metadata, event_id=event_id, occurred_at=occurred_at
        )
        outcome = self._delivery.send_now(event.to_json(), self._flush_timeout if timeout is None else timeout)
        if outcome is None:
            raise self._full(event)
        if isinstance(outcome, Rejected):
            raise UsageRejected(event, outcome.problem)
        if isinstance(outcome, Postponed):
            raise NotAcknowledged(event.event_id, str(outcome.problem))
        if isinstance(outcome, Retry):
            raise NotAcknowledged(event.event_id, outcome.reason)
        return outcome

    @property
    def unsent(self) -> int:
        """The number of events neither acknowledged nor finally rejected (in a spool: of all processes)."""
        return self._delivery.unsent

    def _full(self, event: UsageEvent) -> BufferFull:
        return BufferFull(f"{self._max_buffered} events are unsent; event {event.event_id} was not accepted")

    # --- Parked events ---------------------------------------------------------------------------

    def parked(self) -> list[ParkedEvent]:
        """Return the events that the service refused, the oldest first. With a spool: of all processes.

        Raises:
            RecorderClosed, SpoolFailed: they cannot be read.
        """
        return [ParkedEvent.of(each) for each in self._delivery.parked()]

    def retry_parked(self, events: Iterable[ParkedEvent] | None = None) -> int:
        """Send parked events again, all unless `events` says which; return their number.

        They keep their times, except for a `reportedAt` that the service refused: it becomes the current time.

        Raises:
            RecorderClosed, SpoolFailed: they stay parked.
        """
        chosen = self.parked() if events is None else events
        return self._delivery.unpark([each.number for each in chosen])

    def drop_parked(self, events: Iterable[ParkedEvent]) -> int:
        """Delete parked events, so that they are never billed; return how many there were.

        Raises:
            RecorderClosed, SpoolFailed: they stay parked.
        """
        return self._delivery.drop([each.number for each in events])

    # --- Flushing and closing ----------------------------------------------------------------

    def flush(self, timeout: float | None = None) -> bool:
        """Send the events accepted so far; return whether all are acknowledged or rejected within `timeout` seconds.

        A flush ends the recorder's own pause, so there is at least one attempt; it does not end the service's
        Retry-After. It does not wait for events that are refused for now, and returns False if there is one. In a
        forked process it is about the events that this process accepted.
        """
        return self._delivery.flush(self._flush_timeout if timeout is None else timeout)

    def close(self, timeout: float | None = None) -> bool:
        """Accept no more events, flush, and end the thread; return whether all events were sent.

        Unsent events stay in the spool. Without a spool they are lost: each is logged and passed to `on_rejected`.
        """
        return self._delivery.close(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def flushing(self, handler: Callable[P, R]) -> Callable[P, R]:
        """Decorate a Lambda handler: flush before it responds, because afterwards the process is frozen.

        It takes at most `flush_timeout` seconds, and leaves half a second of the invocation's time.
        """
        return flush_after(handler, self, self._flush_timeout)


def _new_event(
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
        event_id=uuid4().hex if event_id is None else valid_event_id(event_id),
        user_id=valid_identifier(user_id, "user_id"),
        subscription_id=valid_identifier(subscription_id, "subscription_id"),
        usage_type=valid_identifier(usage_type, "usage_type"),
        quantity=exact_quantity(quantity),
        occurred_at=aware_time(occurred_at) if occurred_at else None,
        reported_at=None if occurred_at else datetime.now(UTC),
        metadata=metadata or {},
    )
