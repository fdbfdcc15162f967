"""Attempts of a call to DynamoDB: none begins so late that the call could take longer than eight seconds."""

from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders

from tests.api import Api
from tests.clocks import StartClocks, stop_start_clocks
from usage_billing.platform import dynamodb


class Raw:
    def stream(self, *_: object, **__: object) -> list[bytes]:
        return [b"{}"]


class Failing:
    """Lets each attempt of one operation fail after so many seconds, by the clocks of `clocks`."""

    def __init__(self, operation: str, clocks: StartClocks, seconds: float, *, frozen: bool = False) -> None:
        self.attempts = 0
        self._clocks, self._seconds, self._frozen = clocks, seconds, frozen
        dynamodb.client().meta.events.register_first(f"before-send.dynamodb.{operation}", self._answer)

    def _answer(self, request: Any, **_: object) -> AWSResponse:
        self.attempts += 1
        self._clocks.time_of_day += self._seconds
        if not self._frozen:
            self._clocks.monotonic += self._seconds
        return AWSResponse(request.url, 500, HTTPHeaders(), Raw())


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> StartClocks:
    monkeypatch.setattr("time.sleep", lambda _: None)
    return stop_start_clocks(monkeypatch)


@pytest.mark.parametrize("operation", ["BatchGetItem", "TransactWriteItems"])
@pytest.mark.parametrize(("seconds", "attempts"), [(0.1, 3), (1.9, 3), (2, 2), (3.9, 2), (4, 1), (60, 1)])
def test_a_call_is_not_attempted_again_after_four_seconds(
    ready: Api, clocks: StartClocks, operation: str, seconds: float, attempts: int
) -> None:
    failing = Failing(operation, clocks, seconds)
    answer = ready.record()
    assert (answer.status, answer.code) == (503, "database_unavailable")
    assert failing.attempts == attempts


def test_a_write_is_not_attempted_again_after_a_freeze(ready: Api, clocks: StartClocks) -> None:
    """The monotonic clock may stand still while Lambda freezes the process."""
    failing = Failing("TransactWriteItems", clocks, 300, frozen=True)
    assert ready.record().status == 503
    assert failing.attempts == 1


def test_the_next_call_has_attempts_of_its_own(ready: Api, clocks: StartClocks) -> None:
    assert ready.record("e1").status == 201
    clocks.pass_time(3600)
    assert ready.record("e2").status == 201
