"""A client that calls the handlers as API Gateway does (payload format 2.0) and routes by the template as it does."""

import base64
import importlib
import json
import re
import time
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode

import jwt
from aws_lambda_powertools.utilities.typing import LambdaContext

from tests import contract
from tests.builders import event_body, quota_body, subscription_body
from tests.cloud import API_KEY, AUDIENCE, ISSUER, JWT_SECRET
from tests.template import functions, handler_module

INTERNAL = {"x-api-key": API_KEY}


def token(sub: str | None = "user-1", role: Any = None, *, secret: str = JWT_SECRET, **claims: Any) -> str:
    """A token like those of an identity provider. A claim that is None is left out."""
    standard = {"sub": sub, "role": role, "iss": ISSUER, "aud": AUDIENCE, "exp": int(time.time()) + 86_400}
    return jwt.encode({k: v for k, v in (standard | claims).items() if v is not None}, secret, algorithm="HS256")


def bearer(sub: str = "user-1", role: str | None = None, **claims: Any) -> dict[str, str]:
    return {"authorization": f"Bearer {token(sub, role, **claims)}"}


ADMIN = ("admin-1", "admin")


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    text: str
    json: Any = field(init=False)

    def __post_init__(self) -> None:
        is_json = "json" in self.headers.get("Content-Type", "")
        self.json = json.loads(self.text, parse_float=Decimal) if is_json else None

    @property
    def code(self) -> str | None:
        """The error code of a problem; None for a success."""
        code: str | None = self.json.get("code")
        return code


def invalid_fields(answer: Answer) -> list[str]:
    """The fields that a validation error names. Fail if the answer is not a validation error."""
    assert (answer.status, answer.code) == (422, "validation_error"), answer.text
    return [error["field"] for error in answer.json["errors"]]


class Context(LambdaContext):
    """The context of an invocation that has `seconds` left."""

    _function_name = "function"
    _memory_limit_in_mb = 512
    _invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:function"
    _aws_request_id = "request-1"

    def __init__(self, seconds: float = 900) -> None:
        self.deadline = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:  # type: ignore[override] # declared as a static method
        return max(0, round((self.deadline - time.monotonic()) * 1000))


@cache
def routes() -> dict[tuple[str, str], str]:
    """The method and path pattern of every route in the template, with the module of its handler."""
    found = {}
    for function in functions().values():
        for event in function["Properties"].get("Events", {}).values():
            if event["Type"] == "HttpApi" and "Path" in event["Properties"]:  # $default has no path
                route = event["Properties"]
                found[route["Method"].upper(), route["Path"].replace("+}", "}")] = handler_module(function)
    return found


def module_of(method: str, path: str) -> tuple[str, dict[str, str]]:
    """The module whose handler takes a request, and the path parameters. Literal segments win, as in API Gateway."""
    matches = []
    for (route_method, pattern), module in routes().items():
        matched = re.fullmatch(contract.path_pattern(pattern), path)
        if matched and route_method == method:
            matches.append((pattern.count("{"), module, matched.groupdict()))
    if not matches:
        raise LookupError(f"no route for {method} {path}")
    _, module, parameters = min(matches)
    return module, parameters


class Api:
    """A client of the handlers in this process."""

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
        raw: bytes | str | None = None,
        raw_path: str | None = None,
        as_: str | None = None,
        seconds: float = 900,
    ) -> Answer:
        """Send a request to the handler of its route.

        `raw` is a body that is sent unchanged; bytes are sent in Base64, as API Gateway sends binary bodies.

        With `raw_path` the handler of `path` gets a request for another path. With `as_` the handler of that method
        gets a request with another method.

        `seconds` is the time left of the invocation. The default is longer than any function's timeout, because a
        busy test machine may be much slower than AWS.
        """
        module, parameters = module_of(as_ or method, path)
        text = raw if raw is not None else None if body is None else json.dumps(body, default=float)
        # API Gateway leaves out empty parts and sends header names in lower case.
        sent = {"content-type": "application/json"} | (INTERNAL if headers is None else headers)
        event: dict[str, Any] = {
            "version": "2.0",
            "routeKey": f"{method} {path}",
            "rawPath": raw_path or quote(path, safe="/~"),
            "rawQueryString": urlencode(query or {}),
            "headers": {name.lower(): value for name, value in sent.items()},
            "requestContext": {
                "http": {"method": method, "path": path},
                "requestId": "request-1",
                "stage": "$default",
            },
            "isBase64Encoded": isinstance(text, bytes),
        }
        if query:
            event["queryStringParameters"] = query
        if parameters:
            event["pathParameters"] = parameters
        if text is not None:
            event["body"] = base64.b64encode(text).decode() if isinstance(text, bytes) else text
        answer = importlib.import_module(module).handler(event, Context(seconds))
        if not (raw_path or as_):
            contract.check(method, path, answer["statusCode"], answer["headers"], answer["body"])
        return Answer(answer["statusCode"], answer["headers"], answer["body"])

    def get(self, path: str, **kwargs: Any) -> Answer:
        return self("GET", path, **kwargs)

    def put(self, path: str, body: Any, **kwargs: Any) -> Answer:
        return self("PUT", path, body, **kwargs)

    def delete(self, path: str, **kwargs: Any) -> Answer:
        return self("DELETE", path, **kwargs)

    def post(self, path: str, body: Any = None, **kwargs: Any) -> Answer:
        return self("POST", path, body, **kwargs)

    def walk(self, path: str, name: str, *, limit: int, **query: str) -> list[list[Any]]:
        """All pages of a list, each with at most `limit` elements."""
        pages: list[list[Any]] = []
        asked = query | {"limit": str(limit)}
        while True:
            answer = self.get(path, query=asked)
            assert answer.status == 200, answer.text
            pages.append(answer.json[name])
            assert len(pages[-1]) <= limit
            assert len(pages) < 100, "the list does not end"
            if "nextCursor" not in answer.json:
                return pages
            asked = query | {"limit": str(limit), "cursor": answer.json["nextCursor"]}

    def plan(
        self, plan: str = "business", usage_type: str = "assessment", limit: Any = 50, price: Any = "10.00"
    ) -> None:
        body = quota_body(usage_type, monthlyLimit=limit, unitPrice=price)
        assert self.put(f"/api/usage/quotas/{plan}/{usage_type}", body).status == 200

    def subscribe(
        self, subscription: str = "sub-1", user: str = "user-1", plan: str = "business", **more: Any
    ) -> Answer:
        return self.put(f"/api/subscriptions/{subscription}", subscription_body(userId=user, planId=plan, **more))

    def record(self, event_id: str | None = "e1", quantity: Any = 1, *, headers: Any = None, **more: Any) -> Answer:
        return self.post("/api/usage/record", event_body(event_id, quantity, **more), headers=headers)

    def invoice(self, subscription: str = "sub-1") -> Any:
        """The newest invoice of a subscription, with its lines."""
        newest, *_ = self.get("/api/invoices", query={"subscriptionId": subscription}).json["invoices"]
        return self.get(f"/api/invoices/{newest['invoiceId']}").json

    def items(self, subscription: str = "sub-1", **query: str) -> list[Any]:
        """All items of the newest invoice of a subscription."""
        path = f"/api/invoices/{self.invoice(subscription)['invoiceId']}/items"
        return [item for page in self.walk(path, "items", limit=100, **query) for item in page]

    def bill(self, **scope: Any) -> Answer:
        return self.post("/api/usage/process-billing", scope or None)
