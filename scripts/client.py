"""A client of the API, and which API it talks to: the one in the environment, else the local cloud's."""

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
ADMIN_TOKEN_LIFE = timedelta(hours=1)
"""Of a token that is signed for one command."""
TRIES = 4
LONGEST_PAUSE = 5.0
TIMEOUT_SECONDS = 40.0
"""A billing run answers within 30 s."""


@dataclass(frozen=True, slots=True)
class Target:
    """An API and the headers that say who is calling."""

    url: str
    credentials: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def code(self) -> str | None:
        """What went wrong, in the API's own word; None where nothing did."""
        code: str | None = self.body.get("code") if isinstance(self.body, dict) else None
        return code

    @property
    def detail(self) -> str:
        """What went wrong, for a person."""
        if not isinstance(self.body, dict):
            return str(self.body)[:200]
        return f"{self.status} {self.body.get('code')}: {self.body.get('detail')}"


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def internal(api_key: str) -> dict[str, str]:
    return {"x-api-key": api_key}


def target() -> Target:
    """Return the API of STACK or API_URL, else the local cloud's, with the credentials for it.

    They are TEST_AUTH_TOKEN or API_KEY. Without them, a stack that signs its own tokens gets an admin's, signed for
    this command, and the local cloud its key.

    Raises:
        Failure: STACK and API_URL contradict each other, or there are no credentials, or nothing is deployed here.
    """
    given = _given_credentials()
    url = os.environ.get(API_URL, "").rstrip("/")
    if name := os.environ.get(STACK):
        stack = DeployedStack.named(name)
        return Target(stack.api_url, given or bearer(signed(stack.jwt(), "make", Role.ADMIN, ADMIN_TOKEN_LIFE)))
    if url and given:
        return Target(url, given)
    if url and not is_local(url):
        raise Failure(f"{API_URL} is set, but no {TOKEN} (a token), no {API_KEY} (an API key) and no {STACK}.")
    local = LocalCloud().stack()
    if url and url != local["apiUrl"]:
        raise Failure(f"{API_URL} is {url}, but the local cloud answers at {local['apiUrl']}.")
    return Target(local["apiUrl"], given or internal(local["internalApiKey"]))


def _given_credentials() -> Mapping[str, str]:
    if token := os.environ.get(TOKEN):
        return bearer(token)
    if api_key := os.environ.get(API_KEY):
        return internal(api_key)
    return {}


class Client:
    """Calls an API with somebody's credentials, in exact JSON, and again where it is told to come back."""

    def __init__(self, where: Target) -> None:
        self.url = where.url
        here = where.url.startswith("http://127.0.0.1")
        self._http = httpx.Client(headers=where.credentials, timeout=TIMEOUT_SECONDS, trust_env=not here)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.close()

    def get(self, path: str, **query: str) -> Answer:
        return self._call("GET", path, query=query)

    def put(self, path: str, body: object) -> Answer:
        return self._call("PUT", path, body)

    def post(self, path: str, body: object) -> Answer:
        return self._call("POST", path, body)

    def _call(self, method: str, path: str, body: object = None, query: Mapping[str, str] | None = None) -> Answer:
        """Every call here can be sent twice: events carry an id, and everything else replaces or reads."""
        for number in range(1, TRIES + 1):
            answer = self._send(method, path, body, query)
            if answer.status not in (429, 503) or number == TRIES:
                break
            time.sleep(min(LONGEST_PAUSE, float(answer.headers.get("retry-after", "1"))))
        return answer

    def _send(self, method: str, path: str, body: object, query: Mapping[str, str] | None) -> Answer:
        content = None if body is None else dumps(body)
        headers = {} if body is None else {"content-type": "application/json"}
        try:
            response = self._http.request(
                method, f"{self.url}{path}", content=content, headers=headers, params=query or None
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Failure(f"{method} {self.url}{path} was not answered: {error}") from None
        try:
            parsed = loads(response.content) if response.content else None
        except ValueError:
            parsed = response.text
        return Answer(response.status_code, parsed, response.headers)


def entirely(answer: Answer, doing: str) -> Any:
    """The body of an answer that has to be a success.

    Raises:
        Failure: it is not.
    """
    if answer.status not in (200, 201):
        raise Failure(f"{doing}: {answer.detail}")
    return answer.body
