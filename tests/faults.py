"""Makes calls to DynamoDB and SQS go wrong, before or after they took effect, or lets something happen meanwhile."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NoReturn

from botocore.exceptions import ClientError, ReadTimeoutError

from usage_billing.platform import queues, tables

When = Literal["before", "after"]
Parameters = dict[str, Any]
Action = Callable[[Parameters], object]


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


def conflict(parameters: Parameters) -> None:
    """Let a transaction meet another one; other calls go through."""
    if items := parameters.get("TransactItems"):
        raise transaction_conflict(len(items))


class Calls:
    """The calls made while this is active, by operation, and what is to happen at them."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self._number = 0
        self._when: When = "before"
        self._action: Action | None = None
        self._everywhere: tuple[Callable[[Parameters], bool], Callable[[], BaseException]] | None = None

    def fail_where(self, where: Callable[[Parameters], bool], error: Callable[[], BaseException]) -> None:
        """Let every call fail, before it takes effect, whose parameters meet `where`."""
        self._everywhere = where, error

    def fail(self, number: int, when: When, error: Callable[[], BaseException]) -> None:
        """Let the `number`-th call from now fail, counted from 1."""

        def strike(_: Parameters) -> NoReturn:
            raise error()

        self.at(number, when, strike)

    def at(self, number: int, when: When, action: Action) -> None:
        """Let something happen at the `number`-th call from now, counted from 1."""
        self._number, self._when, self._action = len(self.made) + number, when, action

    def calm(self) -> None:
        """Let nothing more happen."""
        self._action = self._everywhere = None

    def _before(self, model: Any, params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        self.made.append(model.name)
        parameters: Parameters = json.loads(params["body"] or "{}")
        context["parameters"] = parameters
        if self._everywhere and self._everywhere[0](parameters):
            raise self._everywhere[1]()  # noqa: RSE102 - a function that makes the exception
        self._strike("before", parameters)

    def _after(self, context: dict[str, Any], **_: Any) -> None:
        self._strike("after", context["parameters"])

    def _strike(self, when: When, parameters: Parameters) -> None:
        if self._action and self._when == when and len(self.made) == self._number:
            action, self._action = self._action, None
            action(parameters)


@contextmanager
def watched() -> Iterator[Calls]:
    """Count the calls of the code under test, and let them go wrong on demand."""
    calls = Calls()
    with hooked(calls._before, calls._after):
        yield calls


@contextmanager
def hooked(before: Callable[..., None], after: Callable[..., None]) -> Iterator[None]:
    """Call `before` and `after` around every call to DynamoDB and SQS."""
    emitters = [
        (client.meta.events, service) for client, service in ((tables.client(), "dynamodb"), (queues.client(), "sqs"))
    ]
    for events, service in emitters:
        events.register_first(f"before-call.{service}", before)
        events.register(f"after-call.{service}", after)
    try:
        yield
    finally:
        for events, service in emitters:
            events.unregister(f"before-call.{service}", before)
            events.unregister(f"after-call.{service}", after)
