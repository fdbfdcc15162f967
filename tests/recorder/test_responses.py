"""The service's responses, and what each means for the events that were sent."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from usage_recorder.outcomes import Acknowledged, Problem, Rejected, Retry
from usage_recorder.responses import MAX_RETRY_AFTER_SECONDS, BatchRefused, read_response, retry_after

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def read(status: int, body: Any, *ids: str, **headers: str) -> list[Any]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_response(status, {name.replace("_", "-"): value for name, value in headers.items()}, content, ids, NOW)


def result(event_id: str, status: str, **more: Any) -> dict[str, Any]:
    return {"eventId": event_id, "status": status, **more}


def problem_with_errors(status: int) -> dict[str, Any]:
    return {
        "status": status,
        "code": "a_code",
        "detail": "why",
        "errors": [{"field": "f", "code": "c", "message": "m"}],
    }


def test_each_event_has_its_own_outcome() -> None:
    results = [
        result("e1", "recorded", record={"sequence": 7}, problem=None),
        result("e2", "replayed", record={"sequence": 3}),
        result("e3", "queued", record=None),
        result("e4", "rejected", problem=problem_with_errors(409)),
        result("e5", "rejected", problem=problem_with_errors(429)),
        result("e6", "rejected", problem=problem_with_errors(503)),
    ]
    found = read(202, {"results": results}, "e1", "e2", "e3", "e4", "e5", "e6", retry_after="2")
    assert found[:3] == [
        Acknowledged("e1", "recorded", {"sequence": 7}),
        Acknowledged("e2", "replayed", {"sequence": 3}),
        Acknowledged("e3", "queued", None),
    ]
    assert found[3] == Rejected(Problem(409, "a_code", "why", ({"field": "f", "code": "c", "message": "m"},)))
    assert str(found[3].problem) == "409 a_code: why; f: m"
    assert [type(each) for each in found[4:]] == [Retry, Retry]
    assert {each.after for each in found[4:]} == {2.0}


def test_unknown_fields_are_ignored() -> None:
    error: dict[str, Any] = {"field": "f", "new": 1}
    grown = {"new": {"a": [1]}, "type": "about:blank", "title": "t", "requestId": "r"}
    results = [
        result("e1", "recorded", record={"sequence": 7, "new": 1}, problem=None, new=2),
        result("e2", "queued", position=3),
        result("e3", "rejected", problem=problem_with_errors(409) | grown | {"errors": [error, "new"]}),
    ]
    first, second, third = read(200, {"results": results, "totals": {"new": 1}, "new": None}, "e1", "e2", "e3")
    assert (first.status, first.record) == ("recorded", {"sequence": 7, "new": 1})
    assert second == Acknowledged("e2", "queued", None)
    assert third == Rejected(Problem(409, "a_code", "why", (error,)))
    [unavailable] = read(503, problem_with_errors(503) | grown, "e1")
    assert unavailable.reason == "503 a_code: why; f: m"


def test_a_problem_survives_its_json() -> None:
    [rejected] = read(200, {"results": [result("e1", "rejected", problem=problem_with_errors(409))]}, "e1")
    assert Problem.from_json(rejected.problem.to_json()) == rejected.problem
    error: dict[str, Any] = {"field": "f", "limit": Decimal("1.5")}
    odd = Problem(422, "c", "d", (error,))
    assert Problem.from_json(odd.to_json()).errors == ({"field": "f", "limit": "1.5"},)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="an empty body"),
        pytest.param(b'{"results": [', id="truncated JSON"),
        pytest.param([], id="not an object"),
        pytest.param({"results": []}, id="too few results"),
        pytest.param({"results": [result("e1", "recorded")] * 2}, id="too many results"),
        pytest.param({"results": [result("e2", "recorded")]}, id="another event"),
        pytest.param({"results": [result("e1", "considered")]}, id="an unknown status"),
        pytest.param({"results": [result("e1", "rejected")]}, id="rejected without a problem"),
        pytest.param({"results": [result("e1", "rejected", problem={"code": "x"})]}, id="a problem without a status"),
        pytest.param({"results": [None]}, id="null for a result"),
    ],
)
def test_an_invalid_response_settles_no_event(body: Any) -> None:
    [outcome] = read(200, body, "e1")
    assert isinstance(outcome, Retry)
    assert not outcome.operator


def test_a_customers_event_may_be_answered_under_a_prefixed_id() -> None:
    [outcome] = read(200, {"results": [result("customer:e1", "recorded")]}, "e1")
    assert outcome == Acknowledged("e1", "recorded", None)


def test_a_result_without_an_id_is_matched_by_its_position() -> None:
    results = [{"eventId": None, "status": "rejected", "problem": problem_with_errors(422)}]
    assert isinstance(read(200, {"results": results}, "e 1")[0], Rejected)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_transient_statuses_are_retried(status: int) -> None:
    assert [type(each) for each in read(status, b"<html>", "e1", "e2")] == [Retry, Retry]
    assert read(status, problem_with_errors(status), "e1")[0].reason == f"{status} a_code: why; f: m"


@pytest.mark.parametrize("status", [301, 401, 403, 404, 405, 415])
def test_statuses_about_credentials_or_the_url_need_an_operator_and_lose_no_event(status: int) -> None:
    [outcome] = read(status, problem_with_errors(status), "e1")
    assert isinstance(outcome, Retry)
    assert outcome.operator


@pytest.mark.parametrize("status", [400, 413, 422])
def test_statuses_about_the_body_refuse_the_batch(status: int) -> None:
    with pytest.raises(BatchRefused) as refused:
        read(status, problem_with_errors(0), "e1", "e2")
    assert (refused.value.problem.status, refused.value.problem.code) == (status, "a_code")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        pytest.param("3", 3, id="seconds"),
        pytest.param("Fri, 20 Nov 2026 12:00:05 GMT", 5, id="a date"),
        pytest.param("Fri, 20 Nov 2026 12:00:05 -0000", 5, id="a date without a time zone"),
        pytest.param("Fri, 20 Nov 2026 11:00:00 GMT", 0, id="a date in the past"),
        pytest.param(
            "Fri, 20 Nov 2099 11:00:00 GMT", MAX_RETRY_AFTER_SECONDS, id="a date far ahead, from a wrong clock"
        ),
        pytest.param("9" * 400, MAX_RETRY_AFTER_SECONDS, id="a number with too many digits"),
        pytest.param("soon", 0, id="neither a number nor a date"),
        pytest.param("-1", 0, id="a negative number"),
        pytest.param("\u0663", 0, id="a digit of another script"),
    ],
)
def test_retry_after_is_a_number_of_seconds_or_a_date(value: str, seconds: float) -> None:
    assert retry_after({"retry-after": value}, NOW) == seconds
