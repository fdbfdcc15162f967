"""Sends events to the service, and says what became of each."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import httpx

from usage_recorder.answers import Outcome, Refused, Rejected, Retry, outcomes

Credential = str | Callable[[], str]
PATH = "/api/usage/batch"
USER_AGENT = "usage-recorder/1.0.0"

_OPEN, _CLOSE = '{"events":[', "]}"
ENVELOPE_BYTES = len(_OPEN) + len(_CLOSE)


class Sender:
    """One connection pool to one service. Safe under threads."""

    def __init__(self, url: str, headers: Callable[[], Mapping[str, str]], timeout: float, http: httpx.Client) -> None:
        self._url = url
        self._headers = headers
        self._timeout = timeout
        self._http = http

    def send(self, events: Sequence[str], within: float | None = None) -> list[Outcome]:
        """Send events, each as JSON, and say what became of each. Raises nothing.

        `within`: seconds for the answer, if that is less than the usual. A connection that cannot be made, or headers
        that come in drips, can take longer: what must not wait for them has to wait elsewhere.
        """
        try:
            return self._answered(events, within)
        except Refused as refused:
            return self._apart(events, refused, within)
        except Exception as error:  # of any kind: what gives the token may raise whatever it likes
            return [Retry(f"no answer: {_legible(error)}")] * len(events)

    def close(self) -> None:
        self._http.close()

    def _answered(self, events: Sequence[str], within: float | None) -> list[Outcome]:
        seconds = min(self._timeout, within or self._timeout)
        deadline = time.monotonic() + seconds
        with self._http.stream(
            "POST",
            self._url,
            content=f"{_OPEN}{','.join(events)}{_CLOSE}",
            headers={"content-type": "application/json", "user-agent": USER_AGENT, **self._headers()},
            timeout=seconds,
        ) as response:
            content = _read(response, deadline)
        event_ids = [json.loads(event)["eventId"] for event in events]
        return outcomes(response.status_code, response.headers, content, event_ids, datetime.now(UTC))

    def _apart(self, events: Sequence[str], refused: Refused, within: float | None) -> list[Outcome]:
        """Halve what was refused until the event that caused it is alone: it must not take the others with it."""
        if len(events) == 1:
            return [Rejected(refused.problem)]
        middle = len(events) // 2
        first = self.send(events[:middle], within)
        if all(isinstance(outcome, Retry) for outcome in first):  # the service has gone; leave it alone
            return first + first[:1] * (len(events) - middle)
        return first + self.send(events[middle:], within)


def _read(response: httpx.Response, deadline: float) -> bytes:
    """The answer's body. httpx bounds the time between two bytes, but not their number."""
    content = bytearray()
    for chunk in response.iter_bytes():
        content += chunk
        if time.monotonic() > deadline:
            raise httpx.ReadTimeout("the answer does not end", request=response.request)
    return bytes(content)


def client_for(url: str) -> httpx.Client:
    """A client with its own connections. A service on this machine is never behind a proxy."""
    return httpx.Client(trust_env=httpx.URL(url).host not in {"127.0.0.1", "localhost", "::1"})


def headers_of(api_key: Credential | None, token: Credential | None) -> Callable[[], Mapping[str, str]]:
    """The headers that say who is calling, asked for anew with every request.

    Raises:
        ValueError: neither or both are given.
    """
    if (api_key is None) == (token is None):
        raise ValueError("give either api_key or token")
    if api_key is not None:
        return lambda: {"x-api-key": _said(api_key)}
    assert token is not None
    return lambda: {"authorization": f"Bearer {_said(token)}"}


def _said(credential: Credential) -> str:
    """Without the line break that a file with a key in it often ends with."""
    return (credential if isinstance(credential, str) else credential()).strip()


def _legible(error: Exception) -> str:
    """What happened on the network; of anything else its kind alone, for its text may quote the credentials."""
    harmless = isinstance(error, httpx.NetworkError | httpx.TimeoutException | httpx.RemoteProtocolError)
    return repr(error) if harmless else type(error).__name__
