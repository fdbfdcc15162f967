"""A stand-in for the service on 127.0.0.1. Like the real one it counts events once; it fails on demand."""

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
    """Keeps the events that arrived, in order. `fail_with` queues failures for the next requests."""

    def __init__(self) -> None:
        self.events: dict[tuple[str, str], dict[str, Any]] = {}
        self.arrivals: Counter[str] = Counter()
        self.batches: list[int] = []
        self.sizes: list[int] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.failures: deque[Failure] = deque()
        self.judge: Callable[[dict[str, Any]], dict[str, Any] | None] = lambda _: None
        self.max_events = 500
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
        """Refuse connections from now on."""
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
    """Compare reports of one event, without `reportedAt`, and without `occurredAt` unless the second one has it."""
    ignored = {"reportedAt"} if "occurredAt" in event else {"reportedAt", "occurredAt"}
    first, again = ({name: each[name] for name in each.keys() - ignored} for each in (known, event))
    return first == again


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore errors: in these tests clients hang up all the time."""


class Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    service: Service
    body: bytes

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers["content-length"]))
        service = self.service
        if not service.running:  # on a connection that was kept open
            self.close_connection = True
            return
        with service.lock:
            service.headers.append(dict(self.headers.items()))
            service.paths.append(self.path)
            service.sizes.append(len(self.body))
            failure = service.failures.popleft() if service.failures else None
        (failure or respond)(self)

    def events(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.body, parse_float=Decimal)["events"]
        return found

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


def respond(request: Request) -> None:
    """Respond as the service does if nothing fails."""
    service, events = request.service, request.events()
    credentials = request.headers.get("x-api-key", request.headers.get("authorization", ""))
    if credentials.removeprefix("Bearer ") != service.token:
        return request.reply(401, {"code": "credentials_invalid", "detail": "who?"})
    if len(events) > service.max_events:
        return request.reply(413, {"code": "body_too_large", "detail": "too many"})
    with service.lock:
        service.batches.append(len(events))
        results = [service.record(event) for event in events]
    return request.reply(200, {"results": results, "totals": {}})
