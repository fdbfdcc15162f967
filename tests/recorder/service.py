"""A stand-in for the service on 127.0.0.1: it counts events once, as the real one does, and fails as it is told."""

import json
import threading
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "a-key"
Failure = Callable[["Request"], None]


class Service:
    """Events that arrived, in order; `fail_with` queues failures for the next requests."""

    def __init__(self) -> None:
        self.events: dict[tuple[str, str], dict[str, Any]] = {}
        self.arrivals: Counter[str] = Counter()
        self.batches: list[int] = []
        self.sizes: list[int] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.failures: deque[Failure] = deque()
        self.judge: Callable[[dict[str, Any]], dict[str, Any] | None] = lambda _: None
        self.most_events = 500
        self.token = KEY
        self.lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        self.start()

    @property
    def running(self) -> bool:
        return self._server is not None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def ids(self) -> list[str]:
        return [event_id for _, event_id in self.events]

    def start(self) -> None:
        service = self

        class Handler(Request):
            pass

        Handler.service = service
        self._server = Server(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Connections are refused from now on."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def fail_with(self, *failures: Failure) -> None:
        self.failures.extend(failures)

    def record(self, event: dict[str, Any]) -> dict[str, Any]:
        self.arrivals[event["eventId"]] += 1
        problem = self.judge(event)
        if problem:
            return {"eventId": event["eventId"], "status": "rejected", "problem": problem}
        key = (event["subscriptionId"], event["eventId"])
        known = self.events.setdefault(key, event)
        if not same(known, event):
            conflict = {"status": 409, "code": "event_id_conflict", "detail": "another event"}
            return {"eventId": event["eventId"], "status": "rejected", "problem": conflict}
        status = "recorded" if self.arrivals[event["eventId"]] == 1 else "replayed"
        record = {"eventId": event["eventId"], "sequence": list(self.events).index(key) + 1}
        return {"eventId": event["eventId"], "status": status, "record": record, "problem": None}


def same(known: dict[str, Any], event: dict[str, Any]) -> bool:
    """Whether they say the same: when it was reported is not part of it, when it occurred only where that is said."""
    ignored = {"reportedAt"} if "occurredAt" in event else {"reportedAt", "occurredAt"}
    first, again = ({name: each[name] for name in each.keys() - ignored} for each in (known, event))
    return first == again


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients hang up here all the time."""


class Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    service: Service
    body: bytes

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers["content-length"]))
        service = self.service
        if not service.running:  # on a connection of before
            self.close_connection = True
            return
        with service.lock:
            service.headers.append(dict(self.headers.items()))
            service.paths.append(self.path)
            service.sizes.append(len(self.body))
            failure = service.failures.popleft() if service.failures else None
        (failure or answer)(self)

    def events(self) -> list[dict[str, Any]]:
        return json.loads(self.body, parse_float=Decimal)["events"]

    def reply(self, status: int, value: Any, **headers: str) -> None:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        with suppress(OSError):
            self.send_response(status)
            for name, each in headers.items():
                self.send_header(name.replace("_", "-"), each)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def answer(request: Request) -> None:
    """As the service answers when all is well."""
    service, events = request.service, request.events()
    if (
        request.headers.get("x-api-key", request.headers.get("authorization", "")).removeprefix("Bearer ")
        != service.token
    ):
        return request.reply(401, {"code": "credentials_invalid", "detail": "who?"})
    if len(events) > service.most_events:
        return request.reply(413, {"code": "body_too_large", "detail": "too many"})
    with service.lock:
        service.batches.append(len(events))
        results = [service.record(event) for event in events]
    return request.reply(200, {"results": results, "totals": {}})


def status(code: int, **headers: str) -> Failure:
    """An answer with that status, before anything is recorded."""
    return lambda request: request.reply(code, {"code": f"code_{code}", "detail": "told to"}, **headers)


def html(code: int) -> Failure:
    """What a gateway between us and the service would say."""
    return lambda request: request.reply(code, b"<html>Bad gateway</html>")


def hang_up(request: Request) -> None:
    """The connection ends without an answer, and nothing is recorded."""
    request.close_connection = True


def record_and_hang_up(request: Request) -> None:
    """All is recorded, but the answer never arrives."""
    with request.service.lock:
        for event in request.events():
            request.service.record(event)
    request.close_connection = True


def half_an_answer(request: Request) -> None:
    """All is recorded, but the answer breaks off."""
    with request.service.lock:
        results = [request.service.record(event) for event in request.events()]
    content = json.dumps({"results": results}).encode()
    request.send_response(200)
    request.send_header("content-length", str(len(content)))
    request.end_headers()
    request.wfile.write(content[: len(content) // 2])
    request.close_connection = True


def cut_json(request: Request) -> None:
    """All of the answer arrives, but it is not all of the JSON."""
    with request.service.lock:
        results = [request.service.record(event) for event in request.events()]
    request.reply(200, json.dumps({"results": results}).encode()[:-9])


def one_result_missing(request: Request) -> None:
    with request.service.lock:
        results = [request.service.record(event) for event in request.events()]
    request.reply(200, {"results": results[1:]})


def never(seconds_event: threading.Event) -> Failure:
    """No answer until the event is set."""

    def wait(request: Request) -> None:
        seconds_event.wait(30)
        request.close_connection = True

    return wait


def drip_body(stop: threading.Event) -> Failure:
    """An answer that never ends: byte after byte, each in good time, until the event is set."""

    def drip(request: Request) -> None:
        request.send_response(200)
        request.send_header("content-length", "1000")
        request.end_headers()
        _drip(request, stop)

    return drip


def drip_headers(stop: threading.Event) -> Failure:
    """The same before the body begins."""

    def drip(request: Request) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
        _drip(request, stop)

    return drip


def _drip(request: Request, stop: threading.Event) -> None:
    request.close_connection = True
    with suppress(OSError):
        while not stop.wait(0.03):
            request.wfile.write(b"x")
