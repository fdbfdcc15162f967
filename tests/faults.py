"""Makes the n-th call to DynamoDB fail, before or after it took effect."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from botocore.exceptions import ClientError, ReadTimeoutError

from usage_billing.tables import client

When = Literal["before", "after"]


def timed_out() -> Exception:
    return ReadTimeoutError(endpoint_url="http://dynamodb.test")


def throttled() -> Exception:
    return _client_error("ThrottlingException")


def internal_error() -> Exception:
    return _client_error("InternalServerError")


class Killed(BaseException):
    """The process ends here: nothing catches this."""


FAULTS: dict[str, Callable[[], BaseException]] = {
    "timed out": timed_out,
    "throttled": throttled,
    "internal error": internal_error,
    "killed": Killed,
}


def _client_error(code: str, **more: Any) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "injected"}, **more}, "AnyOperation")


def transaction_conflict(items: int) -> ClientError:
    """Another transaction holds one of the items; nothing was written, and no old item comes back."""
    reasons = [{"Code": "None"}] * (items - 1) + [{"Code": "TransactionConflict", "Message": "injected"}]
    return _client_error("TransactionCanceledException", CancellationReasons=reasons)


class Calls:
    """The calls made to DynamoDB while this is active, by operation, and the one that is to fail."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self._number = 0
        self._when: When = "before"
        self._error: Callable[[], BaseException] | None = None
        self._where: Callable[[dict[str, Any]], bool] = lambda _: False
        self._error_there: Callable[[], BaseException] = internal_error

    def fail_where(self, where: Callable[[dict[str, Any]], bool], error: Callable[[], BaseException]) -> None:
        """Let every call fail, before it takes effect, whose parameters meet `where`."""
        self._where, self._error_there = where, error

    def fail(self, number: int, when: When, error: Callable[[], BaseException]) -> None:
        """Let the `number`-th call from now fail, counted from 1."""
        self._number, self._when, self._error = len(self.made) + number, when, error

    def _before(self, model: Any, params: dict[str, Any], **_: Any) -> None:
        self.made.append(model.name)
        if self._where(json.loads(params["body"] or "{}")):
            raise self._error_there()
        self._strike("before")

    def _after(self, **_: Any) -> None:
        self._strike("after")

    def _strike(self, when: When) -> None:
        if self._error and self._when == when and len(self.made) == self._number:
            error, self._error = self._error, None
            raise error()


@contextmanager
def watched() -> Iterator[Calls]:
    """Count the calls of the code under test, and let them fail on demand."""
    calls = Calls()
    events = client().meta.events
    events.register_first("before-call.dynamodb", calls._before)
    events.register("after-call.dynamodb", calls._after)
    try:
        yield calls
    finally:
        events.unregister("before-call.dynamodb", calls._before)
        events.unregister("after-call.dynamodb", calls._after)
