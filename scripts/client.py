"""A client of the API, and which API it talks to: the one in the environment, else the private cloud's."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import httpx

from scripts.local_cloud import LocalCloud
from scripts.progress import Failure
from usage_billing.exact_json import dumps, loads

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

API_URL, TOKEN, API_KEY = "API_URL", "TEST_AUTH_TOKEN", "API_KEY"
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
    """API_URL, else the private cloud's API; with TEST_AUTH_TOKEN or API_KEY, else with the private cloud's key.

    Raises:
        Failure: API_URL is set and credentials are not, or nothing is deployed here.
    """
    url = os.environ.get(API_URL)
    if token := os.environ.get(TOKEN):
        credentials = bearer(token)
    elif api_key := os.environ.get(API_KEY):
        credentials = internal(api_key)
    elif url:
        raise Failure(f"{API_URL} is set, but neither {TOKEN} (a token) nor {API_KEY} (an internal key).")
    else:
        credentials = internal(LocalCloud().stack()["internalApiKey"])
    return Target((url or LocalCloud().stack()["apiUrl"]).rstrip("/"), credentials)


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
