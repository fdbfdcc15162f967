"""Limits on the size and rate of requests, and requests without a route."""

import base64
import json
from typing import Any

import pytest

import refuse_route
from tests.api import ADMIN, INTERNAL, Answer, Api, Context, bearer
from tests.builders import event_body
from tests.template import template
from usage_billing.apidocs import openapi
from usage_billing.usage.api import MAX_BATCH_BYTES
from usage_billing.usage.dead_events.api import MAX_SELECTION_BYTES
from usage_billing.web import bodies

RECORD, BATCH = "/api/usage/record", "/api/usage/batch"
EVENT = event_body(None)

BODIES = {
    ("POST", RECORD): (RECORD, bodies.MAX_BYTES),
    ("POST", BATCH): (BATCH, MAX_BATCH_BYTES),
    ("POST", "/api/usage/process-billing"): ("/api/usage/process-billing", bodies.MAX_BYTES),
    ("POST", "/api/usage/dead-events/redrive"): ("/api/usage/dead-events/redrive", MAX_SELECTION_BYTES),
    ("POST", "/api/usage/dead-events/drop"): ("/api/usage/dead-events/drop", MAX_SELECTION_BYTES),
    ("POST", "/api/usage/quotas/preview"): ("/api/usage/quotas/preview", bodies.MAX_BYTES),
    ("PUT", "/api/usage/quotas/{planId}/{usageType}"): ("/api/usage/quotas/p/t", bodies.MAX_BYTES),
    ("PUT", "/api/subscriptions/{subscriptionId}"): ("/api/subscriptions/s", bodies.MAX_BYTES),
}


def padded(body: dict[str, Any], size: int) -> str:
    """A body of `size` bytes, padded with white space."""
    text = json.dumps(body)
    return text[:-1] + " " * (size - len(text)) + "}"


def test_every_route_with_a_body_is_tested() -> None:
    reading = {
        (method.upper(), path)
        for path, operations in openapi.document()["paths"].items()
        for method, operation in operations.items()
        if "requestBody" in operation
    }
    assert reading == set(BODIES)


@pytest.mark.parametrize(("method", "path", "limit"), [(method, *each) for (method, _), each in BODIES.items()])
@pytest.mark.parametrize("in_base64", [False, True], ids=["text", "base64"])
def test_a_larger_body_than_the_limit_is_413(ready: Api, method: str, path: str, limit: int, in_base64: bool) -> None:
    def send(size: int) -> Answer:
        raw = padded({}, size)
        return ready(method, path, raw=raw.encode() if in_base64 else raw, headers=bearer(*ADMIN))

    assert send(limit).status in (200, 422)
    for size in (limit + 1, limit + 2, limit + 3, 3 * limit):
        assert (send(size).status, send(size).code) == (413, "body_too_large")


def test_the_limit_counts_bytes_not_characters(ready: Api) -> None:
    assert ready.post(RECORD, raw="ä" * (bodies.MAX_BYTES // 2)).status == 400
    assert ready.post(RECORD, raw="ä" * (bodies.MAX_BYTES // 2) + "a").status == 413


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param("[" * 100_000, id="100,000 brackets"),
        pytest.param('{"quantity":' + "9" * 100_000 + "}", id="a number of 100,000 digits"),
        pytest.param("{" + '"a":1,' * 20_000 + '"a":1}', id="20,000 duplicate keys"),
        pytest.param(b"\xff" * 100_000, id="not UTF-8"),
        pytest.param("\ud800" * 10_000, id="lone surrogates"),
    ],
)
def test_a_body_that_is_too_large_is_not_parsed(ready: Api, raw: str | bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "loads", lambda _: pytest.fail("the body was parsed"))
    assert ready.post(RECORD, raw=raw).status == 413


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param("[" * 16_000, id="brackets"),
        pytest.param('{"a":' * 3_000, id="braces"),
        pytest.param('{"metadata":' + "[" * 8_000 + "]" * 8_000 + "}", id="balanced brackets"),
        pytest.param('{"quantity":' + "9" * 16_000 + "}", id="a number of 16,000 digits"),
        pytest.param('{"quantity":1e' + "9" * 16_000 + "}", id="an exponent of 16,000 digits"),
        pytest.param("{" + '"a":1,' * 2_500 + '"a":1}', id="2,500 duplicate keys"),
        pytest.param('"' + "\\" * 16_000 + '"', id="backslashes"),
        pytest.param("\ud800" * 5_000, id="lone surrogates"),
    ],
)
def test_a_malicious_body_below_the_limit_is_rejected(ready: Api, raw: str) -> None:
    assert len(raw.encode(errors="surrogatepass")) <= bodies.MAX_BYTES
    assert ready.post(RECORD, raw=raw).status in (400, 422)


def test_the_largest_valid_event_is_accepted(ready: Api) -> None:
    names = {"userId": "u" * 128, "subscriptionId": "s" * 128, "usageType": "t" * 128, "eventId": "~" * 128}
    # Escaped as ASCII, each of these characters takes 6 bytes: the longest way to write 2 KB.
    text = "\x7f" * 2000
    event = EVENT | names | {"quantity": 0.000000001, "metadata": {"a": text}}
    size = len(json.dumps(event, ensure_ascii=True).replace("\x7f", "\\u007f"))
    assert size < bodies.MAX_BYTES
    ready.subscribe("s" * 128, "u" * 128)
    assert ready.post(RECORD, raw=json.dumps(event).replace("\x7f", "\\u007f")).status == 201


def test_credentials_are_checked_before_the_size(ready: Api) -> None:
    for headers in ({}, {"x-api-key": "wrong"}, INTERNAL | {"authorization": ""}):
        assert ready.post(RECORD, raw="x" * 100_000, headers=headers).status == 401


# --- Requests without a route ---


def call_unknown_route(method: str, path: str) -> tuple[int, dict[str, str], dict[str, Any]]:
    event = {"rawPath": path, "requestContext": {"http": {"method": method, "path": path}}, "headers": {}}
    answer = refuse_route.handler(event, Context())
    return answer["statusCode"], answer["headers"], json.loads(answer["body"])


@pytest.mark.parametrize(
    "path",
    ["/api", "/api/usage", "/favicon.ico", "/api/usage/record/", "//", "/\x00", "/ä", "/%2e", "", "x" * 5000],
)
def test_an_unknown_path_is_a_404_problem(path: str) -> None:
    status, headers, body = call_unknown_route("GET", path)
    assert (status, body["code"]) == (404, "not_found")
    assert headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", RECORD, "POST"),
        ("DELETE", "/api/subscriptions/sub-1", "GET, PUT"),
        ("PATCH", "/api/usage/quotas/business/assessment", "GET, PUT"),
        ("OPTIONS", "/api/invoices", "GET"),
        ("HEAD", "/openapi.json", "GET"),
        ("TRACE", "/api/usage/user/user-1", "GET"),
        ("QUERY", "/docs", "GET"),
        ("POST", "/", "GET"),
    ],
)
def test_an_unknown_method_is_405_with_the_allowed_methods(method: str, path: str, allowed: str) -> None:
    status, headers, body = call_unknown_route(method, path)
    assert (status, body["code"], headers["Allow"]) == (405, "method_not_allowed", allowed)


# --- Rates ---


def test_every_route_is_throttled_and_unknown_routes_most() -> None:
    api, parameters = template()["Resources"]["Api"]["Properties"], template()["Parameters"]
    assert api["DefaultRouteSettings"] == {
        "ThrottlingRateLimit": {"Ref": "ApiRateLimit"},
        "ThrottlingBurstLimit": {"Ref": "ApiBurstLimit"},
    }
    unknown_routes = api["RouteSettings"]["$default"]
    assert unknown_routes["ThrottlingRateLimit"] < parameters["ApiRateLimit"]["Default"] <= 10_000
    assert unknown_routes["ThrottlingBurstLimit"] < parameters["ApiBurstLimit"]["Default"] <= 5_000


def test_unpadded_base64_does_not_bypass_the_limit(ready: Api) -> None:
    import record_usage

    text = base64.b64encode(b" " * (bodies.MAX_BYTES + 1)).decode().rstrip("=")
    event = {
        "version": "2.0",
        "rawPath": RECORD,
        "headers": INTERNAL,
        "isBase64Encoded": True,
        "body": text,
        "requestContext": {"http": {"method": "POST", "path": RECORD}, "stage": "$default"},
    }
    assert record_usage.handler(event, Context())["statusCode"] in (400, 413)
