"""Batches: take them from the outbox and send them, with their size, pauses and retries."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tenacity import RetryCallState, Retrying, retry_if_exception_type, retry_if_result

from usage_recorder.buffers import Entry
from usage_recorder.deadlines import NEVER, Deadline
from usage_recorder.outbox import Outbox
from usage_recorder.outcomes import Retry
from usage_recorder.retries import Attempt, needs_retry
from usage_recorder.sender import ENVELOPE_BYTES, Sender
from usage_recorder.settings import MIN_ATTEMPT_SECONDS, Settings
from usage_recorder.settling import Settler

MAX_BODY_BYTES = 900_000
"""The service refuses bodies of more than 1 MB."""

log = logging.getLogger("usage_recorder")


class BatchSender:
    """The loop that takes batches from the outbox, sends them and settles them. Safe under threads."""

    def __init__(self, outbox: Outbox, sender: Sender, settler: Settler, settings: Settings) -> None:
        self._outbox = outbox
        self._sender = sender
        self._settler = settler
        self._settings = settings
        self._batch_size = settings.max_batch
        self._not_before = 0.0  # the end of the service's Retry-After, in seconds of time.monotonic
        # Guarded by the outbox's lock:
        self._stopped = False
        self._flushing = 0  # flushes in progress
        self._flushes = 0  # flushes ever begun
        self._flushes_seen = 0  # the value of _flushes when the current batch was begun

    @property
    def stopped(self) -> bool:
        return self._stopped

    def stop(self) -> None:
        """Make every `run` return soon."""
        with self._outbox.changed:
            self._stopped = True
            self._outbox.changed.notify_all()

    @contextmanager
    def flushing(self) -> Iterator[None]:
        """While inside, batches do not wait to be full. Entering cuts the current pause short."""
        with self._outbox.changed:
            self._flushing += 1
            self._flushes += 1
            self._outbox.changed.notify_all()
        try:
            yield
        finally:
            with self._outbox.changed:
                self._flushing -= 1

    def run(self, done: Callable[[], bool] = lambda: False, deadline: Deadline = NEVER) -> None:
        """Send events until stopped, until `done`, which is called with the lock held, or until the deadline."""

        def ended() -> bool:
            with self._outbox.changed:
                return self._stopped or deadline.passed() or done()

        send = Retrying(
            retry=retry_if_result(needs_retry) | retry_if_exception_type(Exception),
            wait=self._pause,
            stop=lambda _: ended(),
            sleep=lambda seconds: self._sleep(deadline.within(seconds)),
            before_sleep=self._log_retry,
            retry_error_callback=lambda _: None,
        )
        while not ended():
            send(lambda: self._send_batch(ended, deadline))

    def _send_batch(self, ended: Callable[[], bool], deadline: Deadline) -> Attempt:
        with self._outbox.changed:
            self._flushes_seen = self._flushes
            self._await_batch(ended, deadline)
            if ended():
                return Attempt()
            batch = self._outbox.take(self._batch_size, MAX_BODY_BYTES - ENVELOPE_BYTES, self._settings.claim_seconds)
        if not batch:
            return Attempt()
        attempt = self._deliver(batch, deadline.left(at_least=MIN_ATTEMPT_SECONDS))
        self._adapt(attempt)
        return attempt

    def _await_batch(self, ended: Callable[[], bool], deadline: Deadline) -> None:
        """Wait for an event; then for a full batch, the end of `linger`, or a flush."""
        self._outbox.wait_for(lambda: ended() or self._outbox.waiting(1) > 0, deadline)
        self._outbox.wait_for(
            lambda: ended() or self._flushing or self._outbox.waiting(self._batch_size) >= self._batch_size,
            Deadline.after(self._settings.linger),
        )

    def _deliver(self, batch: list[Entry], timeout: float) -> Attempt:
        unsettled = batch
        try:
            results = self._sender.send([entry.text for entry in batch], timeout)
            outcomes = [self._settler.resolve(entry, each) for entry, each in zip(batch, results, strict=True)]
            self._settler.settle(batch, outcomes)
            unsettled = [entry for entry, each in zip(batch, outcomes, strict=True) if isinstance(each, Retry)]
        finally:
            if unsettled:
                self._settler.release(unsettled)
        return Attempt(outcomes)

    def _adapt(self, attempt: Attempt) -> None:
        """Halve the batch size when the service fails, and double it when it works.

        The service may be too slow for so many events, or fail because of one of them. In small batches that one does
        not hold up the others: unsettled events go behind them.
        """
        if attempt.progressed:
            self._batch_size = min(self._settings.max_batch, 2 * self._batch_size)
        elif not attempt.operator:
            self._batch_size = max(1, len(attempt.outcomes) // 2)

    def _pause(self, state: RetryCallState) -> float:
        assert state.outcome
        if not state.outcome.failed:
            self._not_before = time.monotonic() + state.outcome.result().after
        return self._settings.pauses.after(state)

    def _sleep(self, deadline: Deadline) -> None:
        """Sleep until the deadline. A flush ends the recorder's own pause, but not the service's Retry-After."""

        def cut_short() -> bool:
            flushed = self._flushes != self._flushes_seen
            return self._stopped or (flushed and time.monotonic() >= self._not_before)

        self._outbox.wait_for(cut_short, deadline)

    def _log_retry(self, state: RetryCallState) -> None:
        assert state.outcome
        pause = state.next_action.sleep if state.next_action else 0
        if state.outcome.failed:
            log.error("usage events cannot be sent, next attempt in %.1f s", pause, exc_info=state.outcome.exception())
            return
        attempt: Attempt = state.outcome.result()
        level = logging.ERROR if attempt.operator else logging.WARNING
        count, reason = len(attempt.retries), attempt.retries[0].reason
        message = "%d usage events were not sent, %s unsent in total, next attempt in %.1f s: %s"
        log.log(level, message, count, self._outbox.unsent_text(), pause, reason)
