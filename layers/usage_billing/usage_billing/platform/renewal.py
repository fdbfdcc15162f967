"""Values that are fetched from elsewhere, remembered, and renewed; with what holds when they cannot be."""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from usage_billing.platform.log_events import LogEvent
from usage_billing.platform.observability import logger

STALE_SECONDS = 900.0
"""How long a value is still used after it should have been renewed. A brown-out of a service that hands out secrets or
keys stops nobody for so long, and what was revoked is accepted so much longer, at most."""

PAUSE_SECONDS = 15.0
"""After a renewal failed: for so long nobody waits for another one to fail."""

ValueT = TypeVar("ValueT")


class Renewed(Generic[ValueT]):
    """A value that is fetched again once it is `lifespan` seconds old; `failure` is how fetching it fails."""

    def __init__(self, lifespan: float, failure: type[Exception]) -> None:
        self._lifespan = lifespan
        self._failure = failure
        self._kept: tuple[float, ValueT] | None = None
        self._failed: tuple[float, Exception] | None = None

    def get(self, fetch: Callable[[], ValueT], *, lifespan: float | None = None) -> ValueT:
        """The value as it was at most `lifespan` seconds ago; up to `STALE_SECONDS` longer while it cannot be fetched.

        `lifespan` makes an exception for once: the caller wants a younger value than others.

        Raises:
            Exception: what `fetch` raises, if there is no value that may still be used.
        """
        if self._kept is None:
            return self.renew(fetch)
        fetched_at, value = self._kept
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
        """Fetch the value now, unless that failed a moment ago and there is an old one.

        Raises:
            Exception: what `fetch` raises, or raised then.
        """
        now = time.monotonic()
        if self._failed and self._kept and now - self._failed[0] < PAUSE_SECONDS:
            raise self._failed[1]
        try:
            value = fetch()
        except self._failure as error:
            self._failed = now, error
            if self._kept:
                logger.error(LogEvent.RENEWAL_FAILED, age=round(now - self._kept[0]), cause=repr(error))
            raise
        self._kept, self._failed = (now, value), None
        return value
