"""Requests: send events to the service and return the outcome of each event."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import httpx

from usage_recorder.deadlines import Deadline
from usage_recorder.outcomes import Outcome, Rejected, Retry
from usage_recorder.responses import BatchRefused, read_response

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

    def send(self, events: Sequence[str], timeout: float) -> list[Outcome]:
        """Send events, each as JSON, and return their outcomes in the same order. Raises nothing.

        `timeout`: seconds for each response, if shorter than the sender's own. Connecting, or response headers that
        arrive byte by byte, can take longer, so a caller with a deadline has to wait in another thread.
        """
        try:
            return self._request(events, min(self._timeout, timeout))
        except BatchRefused as refused:
            return self._send_halves(events, refused, timeout)
        except Exception as error:  # of any kind: a function that provides credentials may raise anything
            return [Retry(f"no response: {_safe_text(error)}")] * len(events)

    def close(self) -> None:
        self._http.close()

    def _request(self, events: Sequence[str], timeout: float) -> list[Outcome]:
        deadline = Deadline.after(timeout)
        with self._http.stream(
            "POST",
            self._url,
            content=f"{_OPEN}{','.join(events)}{_CLOSE}",
            headers={"content-type": "application/json", "user-agent": USER_AGENT, **self._headers()},
            timeout=timeout,
        ) as response:
            content = _read_body(response, deadline)
        event_ids = [json.loads(event)["eventId"] for event in events]
        return read_response(response.status_code, response.headers, content, event_ids, datetime.now(UTC))

    def _send_halves(self, events: Sequence[str], refused: BatchRefused, timeout: float) -> list[Outcome]:
        """Halve a refused batch until the event that caused it is alone, so that the others are recorded."""
        if len(events) == 1:
            return [Rejected(refused.problem)]
        middle = len(events) // 2
        first = self.send(events[:middle], timeout)
        if all(isinstance(outcome, Retry) for outcome in first):  # the service is down: do not add to its load
            return first + first[:1] * (len(events) - middle)
        return first + self.send(events[middle:], timeout)


def _read_body(response: httpx.Response, deadline: Deadline) -> bytes:
    """Return the response's body. httpx limits the time between two chunks, but not their number."""
    content = bytearray()
    for chunk in response.iter_bytes():
        content += chunk
        if deadline.passed():
            raise httpx.ReadTimeout("the response is too slow", request=response.request)
    return bytes(content)


def client_for(url: str) -> httpx.Client:
    """Return a client of its own for `url`. It uses no proxy for a service on this machine."""
    return httpx.Client(trust_env=httpx.URL(url).host not in {"127.0.0.1", "localhost", "::1"})


def _safe_text(error: Exception) -> str:
    """Return the text of a network error, and only the type of any other: its text may contain the credentials."""
    harmless = isinstance(error, httpx.NetworkError | httpx.TimeoutException | httpx.RemoteProtocolError)
    return repr(error) if harmless else type(error).__name__
