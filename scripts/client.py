"""An HTTP client for the API, and the choice of the API: the environment names one, else it is the local cloud's."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

import httpx

from scripts.credentials import signed
from scripts.local_cloud import API_URL, STACK, LocalCloud, is_local
from scripts.progress import Failure
from scripts.stacks import DeployedStack
from usage_billing.access.callers import Role
from usage_billing.kernel.exact_json import dumps, loads

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

TOKEN, API_KEY = "TEST_AUTH_TOKEN", "API_KEY"
ADMIN_TOKEN_LIFETIME = timedelta(hours=1)
"""Lifetime of a token that is signed for a single command."""

ATTEMPTS = 4
MAX_PAUSE_SECONDS = 5.0
TIMEOUT_SECONDS = 40.0
"""A billing run responds within 30 s."""


@dataclass(frozen=True, slots=True)
class Target:
    """The URL of an API, and the headers with the caller's credentials."""

    url: str
    credentials: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def code(self) -> str | None:
        """The error code of the API; None if the call succeeded."""
        code: str | None = self.body.get("code") if isinstance(self.body, dict) else None
        return code

    @property
    def detail(self) -> str:
        """A readable description of the error."""
        if not isinstance(self.body, dict):
            return str(self.body)[:200]
        return f"{self.status} {self.body.get('code')}: {self.body.get('detail')}"


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def internal(api_key: str) -> dict[str, str]:
    return {"x-api-key": api_key}


def target() -> Target:
    """Return the API that STACK or API_URL names, else the local cloud's, with credentials for it.

    The credentials are TEST_AUTH_TOKEN or API_KEY. If neither is set, they are an admin token signed for this command,
    provided that the stack signs its own tokens. For the local cloud they are its API key.

    Raises:
        Failure: STACK and API_URL contradict each other, there are no credentials, or nothing is deployed locally.
    """
    given = _given_credentials()
    url = os.environ.get(API_URL, "").rstrip("/")
    if name := os.environ.get(STACK):
        stack = DeployedStack.named(name)
        return Target(stack.api_url, given or bearer(signed(stack.jwt(), "make", Role.ADMIN, ADMIN_TOKEN_LIFETIME)))
    if url and given:
        return Target(url, given)
    if url and not is_local(url):
        raise Failure(
            f"{API_URL} is set. Also set {TOKEN} (a token), {API_KEY} (an API key) or {STACK} (a stack's name)."
        )
    local = LocalCloud().stack()
    if url and url != local["apiUrl"]:
        raise Failure(f"{API_URL} is {url}, but the API of the local cloud is {local['apiUrl']}.")
    return Target(local["apiUrl"], given or internal(local["internalApiKey"]))


def _given_credentials() -> Mapping[str, str]:
    if token := os.environ.get(TOKEN):
        return bearer(token)
    if api_key := os.environ.get(API_KEY):
        return internal(api_key)
    return {}


class Client:
    """A client for the API. It sends and parses numbers exactly, and retries after 429 and 503."""

    def __init__(self, where: Target) -> None:
        self.url = where.url
        local = where.url.startswith("http://127.0.0.1")
        self._http = httpx.Client(headers=where.credentials, timeout=TIMEOUT_SECONDS, trust_env=not local)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.close()

    def get(self, path: str, **query: str) -> Response:
        return self._call("GET", path, query=query)

    def put(self, path: str, body: object) -> Response:
        return self._call("PUT", path, body)

    def post(self, path: str, body: object) -> Response:
        return self._call("POST", path, body)

    def _call(self, method: str, path: str, body: object = None, query: Mapping[str, str] | None = None) -> Response:
        """Send a request, with retries. Repeating is safe: events have ids, all other requests read or replace."""
        for attempt in range(1, ATTEMPTS + 1):
            response = self._send(method, path, body, query)
            if response.status not in (429, 503) or attempt == ATTEMPTS:
                break
            time.sleep(min(MAX_PAUSE_SECONDS, float(response.headers.get("retry-after", "1"))))
        return response

    def _send(self, method: str, path: str, body: object, query: Mapping[str, str] | None) -> Response:
        content = None if body is None else dumps(body)
        headers = {} if body is None else {"content-type": "application/json"}
        try:
            response = self._http.request(
                method, f"{self.url}{path}", content=content, headers=headers, params=query or None
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Failure(f"{method} {self.url}{path} got no response: {error}") from None
        try:
            parsed = loads(response.content) if response.content else None
        except ValueError:
            parsed = response.text
        return Response(response.status_code, parsed, response.headers)


def body_of(response: Response, action: str) -> Any:
    """Return the body of a successful response.

    Raises:
        Failure: the response is an error. The message begins with `action`.
    """
    if response.status not in (200, 201):
        raise Failure(f"{action}: {response.detail}")
    return response.body
