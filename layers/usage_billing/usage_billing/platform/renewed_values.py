"""Cached values that are fetched again after some time, and used a while longer if that fails."""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from usage_billing.platform.log_events import LogEvent
from usage_billing.platform.observability import logger

STALE_SECONDS = 900.0
"""The time for which a value that could not be renewed is still used. An outage of the service that provides secrets or
keys does not stop callers for this long, and a revoked secret or key is accepted at most this much longer."""

PAUSE_SECONDS = 15.0
"""The pause after a failed renewal before the next attempt, so that not every caller waits for it to fail."""

ValueT = TypeVar("ValueT")


class Renewed(Generic[ValueT]):
    """A value that is fetched again once it is `lifespan` seconds old. `failure` is the error of a failed fetch."""

    def __init__(self, lifespan: float, failure: type[Exception]) -> None:
        self._lifespan = lifespan
        self._failure = failure
        self._current: tuple[float, ValueT] | None = None
        self._failed: tuple[float, Exception] | None = None

    def get(self, fetch: Callable[[], ValueT], *, lifespan: float | None = None) -> ValueT:
        """Return a value at most `lifespan` seconds old, or up to `STALE_SECONDS` older if it cannot be fetched.

        `lifespan` applies to this call only, for a caller that needs a more recent value.

        Raises:
            Exception: the error of `fetch`, if there is no value that may still be used.
        """
        if self._current is None:
            return self.renew(fetch)
        fetched_at, value = self._current
        age = time.monotonic() - fetched_at
        if age < (self._lifespan if lifespan is None else lifespan):
            return value
        try:
            return self.renew(fetch)
        except self._failure:
            if age >= self._lifespan + STALE_SECONDS:
                raise
            return value

    def renew(self, fetch: Callable[[], ValueT]) -> ValueT:
        """Fetch the value now, unless a fetch failed less than `PAUSE_SECONDS` ago and there is an old value.

        Raises:
            Exception: the error of `fetch`, now or then.
        """
        now = time.monotonic()
        if self._failed and self._current and now - self._failed[0] < PAUSE_SECONDS:
            raise self._failed[1]
        try:
            value = fetch()
        except self._failure as error:
            self._failed = now, error
            if self._current:
                logger.error(LogEvent.RENEWAL_FAILED, age=round(now - self._current[0]), cause=repr(error))
            raise
        self._current, self._failed = (now, value), None
        return value
