"""Failures of the stand-in for the service: each takes a request and responds, or not, in its own way."""

import json
import threading
from contextlib import suppress

from tests.recorder.service import Failure, Request, respond


def status(code: int, **headers: str) -> Failure:
    """Respond with that status and record nothing."""
    return lambda request: request.reply(code, {"code": f"code_{code}", "detail": "on demand"}, **headers)


def html(code: int) -> Failure:
    """Respond with HTML, as a gateway in front of the service would."""
    return lambda request: request.reply(code, b"<html>Bad gateway</html>")


def hang_up(request: Request) -> None:
    """Close the connection without a response and record nothing."""
    request.close_connection = True


def record_and_hang_up(request: Request) -> None:
    """Record all events and close the connection without a response."""
    with request.service.lock:
        for event in request.events():
            request.service.record(event)
    request.close_connection = True


def truncated_body(request: Request) -> None:
    """Record all events, send half of the response and close the connection."""
    with request.service.lock:
        results = [request.service.record(event) for event in request.events()]
    content = json.dumps({"results": results}).encode()
    request.send_response(200)
    request.send_header("content-length", str(len(content)))
    request.end_headers()
    request.wfile.write(content[: len(content) // 2])
    request.close_connection = True


def truncated_json(request: Request) -> None:
    """Record all events and send a complete response with incomplete JSON."""
    with request.service.lock:
        results = [request.service.record(event) for event in request.events()]
    request.reply(200, json.dumps({"results": results}).encode()[:-9])


def one_result_missing(request: Request) -> None:
    """Record all events and leave out the result of the first."""
    with request.service.lock:
        results = [request.service.record(event) for event in request.events()]
    request.reply(200, {"results": results[1:]})


def no_response(until: threading.Event) -> Failure:
    """Do not respond until the event is set."""

    def wait(request: Request) -> None:
        until.wait(30)
        request.close_connection = True

    return wait


def endless_body(until: threading.Event) -> Failure:
    """Send a body that never ends, byte after byte, until the event is set."""

    def drip(request: Request) -> None:
        request.send_response(200)
        request.send_header("content-length", "1000")
        request.end_headers()
        _drip(request, until)

    return drip


def endless_headers(until: threading.Event) -> Failure:
    """Send headers that never end, byte after byte, until the event is set."""

    def drip(request: Request) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
        _drip(request, until)

    return drip


def _drip(request: Request, until: threading.Event) -> None:
    request.close_connection = True
    with suppress(OSError):
        while not until.wait(0.03):
            request.wfile.write(b"x")


def respond_and_set(event: threading.Event) -> Failure:
    """Respond as if nothing failed, and set the event afterwards."""

    def failure(request: Request) -> None:
        respond(request)
        event.set()

    return failure


TEMPORARY: list[Failure] = [
    status(429, retry_after="0"),
    status(500),
    status(503, retry_after="0"),
    html(502),
    hang_up,
    record_and_hang_up,
    truncated_body,
    truncated_json,
    one_result_missing,
    status(401),
    status(403),
    status(404),
    status(302, location="/elsewhere"),
]
