"""Injects faults into calls to DynamoDB and SQS, before or after they take effect, or runs an action at that moment."""

import itertools
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NoReturn, Self

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from usage_billing.platform import dynamodb, queues

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
    """The process is killed. No code under test catches this."""


FAULTS: dict[str, Callable[[], BaseException]] = {
    "timed out": timed_out,
    "throttled": throttled,
    "internal error": internal_error,
    "killed": Killed,
}


def every_fault() -> list[object]:
    """Parameters `when` and `error` of a test, for every fault both before and after the call takes effect."""
    return [
        pytest.param(when, error, id=f"{name}, {when} it took effect")
        for when, (name, error) in itertools.product(("before", "after"), FAULTS.items())
    ]


def _client_error(code: str, **more: Any) -> ClientError:
    response: Any = {"Error": {"Code": code, "Message": "injected"}, **more}
    return ClientError(response, "AnyOperation")


def transaction_conflict(items: int) -> ClientError:
    """The error when another transaction holds one of the items. Nothing was written, and no old item is returned."""
    reasons = [{"Code": "None"}] * (items - 1) + [{"Code": "TransactionConflict", "Message": "injected"}]
    return _client_error("TransactionCanceledException", CancellationReasons=reasons)


def conflict(parameters: Parameters) -> None:
    """Fail a transaction as if another one held an item. Other calls go through."""
    if items := parameters.get("TransactItems"):
        raise transaction_conflict(len(items))


class Unprocessed:
    """Lets DynamoDB leave keys unprocessed: in the first `times` responses, those for which `which` holds.

    `which` gets the name of a table and a key. While this is active, `requested` lists the keys of each request.
    """

    def __init__(self, which: Callable[[str, Parameters], bool], times: float = math.inf) -> None:
        self.requested: list[list[Parameters]] = []
        self._which, self._times = which, times

    def __enter__(self) -> Self:
        dynamodb.client().meta.events.register("after-call.dynamodb.BatchGetItem", self._leave)
        dynamodb.client().meta.events.register("provide-client-params.dynamodb.BatchGetItem", self._note)
        return self

    def __exit__(self, *_: object) -> None:
        dynamodb.client().meta.events.unregister("after-call.dynamodb.BatchGetItem", self._leave)
        dynamodb.client().meta.events.unregister("provide-client-params.dynamodb.BatchGetItem", self._note)

    def _note(self, params: Parameters, context: Parameters, **_: Any) -> None:
        context["asked"] = params["RequestItems"]
        self.requested.append([key for asked in params["RequestItems"].values() for key in asked["Keys"]])

    def _leave(self, parsed: Parameters, context: Parameters, **_: Any) -> None:
        if len(self.requested) > self._times:
            return
        for table, asked in context["asked"].items():
            left = [key for key in asked["Keys"] if self._which(table, key)]
            if left:
                found = parsed["Responses"].get(table, [])
                parsed["Responses"][table] = [
                    item for item in found if not any(key.items() <= item.items() for key in left)
                ]
                parsed.setdefault("UnprocessedKeys", {})[table] = asked | {"Keys": left}


class Calls:
    """The names of the calls made while this is active, and the faults or actions to inject into them."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self._number = 0
        self._when: When = "before"
        self._action: Action | None = None
        self._rule: tuple[Callable[[Parameters], bool], Callable[[], BaseException]] | None = None

    def fail_where(self, where: Callable[[Parameters], bool], error: Callable[[], BaseException]) -> None:
        """Make every call fail, before it takes effect, whose parameters match `where`."""
        self._rule = where, error

    def fail(self, number: int, when: When, error: Callable[[], BaseException]) -> None:
        """Make the `number`-th call from now fail, counting from 1."""

        def strike(_: Parameters) -> NoReturn:
            raise error()

        self.at(number, when, strike)

    def at(self, number: int, when: When, action: Action) -> None:
        """Run an action at the `number`-th call from now, counting from 1."""
        self._number, self._when, self._action = len(self.made) + number, when, action

    def calm(self) -> None:
        """Inject nothing more."""
        self._action = self._rule = None

    def _before(self, model: Any, params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        self.made.append(model.name)
        parameters: Parameters = json.loads(params["body"] or "{}")
        context["parameters"] = parameters
        if self._rule and self._rule[0](parameters):
            raise self._rule[1]()  # noqa: RSE102 - a function that makes the exception
        self._strike("before", parameters)

    def _after(self, context: dict[str, Any], **_: Any) -> None:
        self._strike("after", context["parameters"])

    def _strike(self, when: When, parameters: Parameters) -> None:
        if self._action and self._when == when and len(self.made) == self._number:
            action, self._action = self._action, None
            action(parameters)


@contextmanager
def watched() -> Iterator[Calls]:
    """Record the calls of the code under test, and inject faults into them on demand."""
    calls = Calls()
    with hooked(calls._before, calls._after):
        yield calls


@contextmanager
def hooked(before: Callable[..., None], after: Callable[..., None]) -> Iterator[None]:
    """Call `before` and `after` around every call to DynamoDB and SQS."""
    emitters = [
        (client.meta.events, service) for client, service in ((dynamodb.client(), "dynamodb"), (queues.client(), "sqs"))
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
