"""Follow the logs of a stack: all functions, and the access log of API Gateway.

python -m scripts.logs [--minutes MINUTES] [--once] [--stack NAME]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from scripts.progress import Failure
from scripts.stacks import DeployedStack

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PAUSE_SECONDS = 2.0
MAX_DELAY_SECONDS = 30.0
"""Maximum delay of a log line. CloudWatch does not guarantee that lines arrive in order."""

NOISE = {
    *("level", "message", "timestamp", "service", "location", "function_name", "function_request_id", "function_arn"),
    *(
        "function_memory_size",
        "cold_start",
        "sampling_rate",
        "exception",
        "exception_name",
        "stack_trace",
        "xray_trace_id",
    ),
}
REPORT = re.compile(r"^REPORT RequestId: \S+\s+Duration: ([\d.]+) ms")
STREAM = re.compile(r"^\d{4}/\d\d/\d\d/([^\[]+)\[")
"""If functions share a log group, Lambda puts the function's name into the stream's name. The emulator does not."""

PLATFORM = ("START ", "END ", "INIT_", "RESTORE_", "EXTENSION")


@dataclass(frozen=True, slots=True)
class Line:
    """One event of a log group. `at` is in milliseconds since 1970. The emulator leaves `id` empty."""

    id: str
    at: int
    stream: str
    text: str


def main() -> int:
    arguments = _arguments()
    try:
        stack = DeployedStack.named(arguments.stack)
        groups = [stack.outputs[name] for name in ("FunctionLogGroup", "AccessLogGroup") if name in stack.outputs]
        where = "local cloud, which has no access log" if stack.is_emulated else stack.session.region_name
        print(f"Logs of {stack.name} ({where}); press Ctrl-C to stop", file=sys.stderr, flush=True)
        client = stack.session.client("logs", endpoint_url=stack.endpoint)
        follow(client, groups, stack.name, since=time.time() - 60 * arguments.minutes, once=arguments.once)
    except (Failure, BotoCoreError, ClientError) as failure:
        print(failure, file=sys.stderr)
        return 1
    except (KeyboardInterrupt, BrokenPipeError):
        sys.stderr.close()  # keeps the interpreter from printing an error at exit
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Follow the logs of a stack.")
    parser.add_argument("--minutes", type=float, default=5.0, help="how many minutes back to start (default: 5)")
    parser.add_argument("--once", action="store_true", help="print the lines logged so far and exit")
    parser.add_argument(
        "--stack",
        default=os.environ.get("STACK"),
        help="name of a deployed stack (default: $STACK, else the stack of the local cloud)",
    )
    return parser.parse_args()


def follow(client: Any, groups: Sequence[str], stack: str, *, since: float, once: bool = False) -> None:
    """Print the lines of `groups` in order as they arrive. `since` is in seconds since 1970."""
    seen: set[Line] = set()
    functions: dict[str, str] = {}
    while True:
        fresh = [line for group in groups for line in _lines(client, group, since) if line not in seen]
        for line in sorted(fresh, key=lambda line: line.at):
            seen.add(line)
            if text := shown(line, stack, functions):
                print(text, flush=True)
        if once:
            return
        since = max(since, time.time() - MAX_DELAY_SECONDS)
        seen = {line for line in seen if line.at >= since * 1000}
        time.sleep(PAUSE_SECONDS)


def _lines(client: Any, group: str, since: float) -> Iterator[Line]:
    pages = client.get_paginator("filter_log_events").paginate(logGroupName=group, startTime=int(since * 1000))
    for page in pages:
        for event in page["events"]:
            yield Line(event.get("eventId", ""), event["timestamp"], event["logStreamName"], event["message"].rstrip())


def shown(line: Line, stack: str, functions: dict[str, str]) -> str | None:
    """Return the line in a readable form; None for metrics and most lines of the Lambda platform.

    `functions` maps each stream to the function that writes to it. It is updated from the line.
    """
    if stream := STREAM.match(line.stream):
        functions[line.stream] = stream[1].removeprefix(f"{stack}-")
    try:
        fields = json.loads(line.text)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        return _shown_text(line, functions)
    if "_aws" in fields:
        return None
    if "routeKey" in fields:
        return _shown_request(line, fields)
    name = str(fields.get("function_name", "")).removeprefix(f"{stack}-")
    functions[line.stream] = name
    details = "  ".join(f"{key}={_text(value)}" for key, value in fields.items() if key not in NOISE)
    text = f"{_time(line)} {fields.get('level', ''):<7} {name:<18} {fields.get('message', '')}  {details}".rstrip()
    return "\n".join([text, *(f"    {each}" for each in str(fields.get("exception", "")).splitlines())])


def _shown_text(line: Line, functions: Mapping[str, str]) -> str | None:
    """Return a line that is not JSON: the duration of an invocation or printed text, but no other platform lines."""
    if report := REPORT.match(line.text):
        if line.stream not in functions:  # a duration is useless without the name of the function
            return None
        text = f"took {float(report[1]):.0f} ms"
    elif line.text and not line.text.startswith(PLATFORM):
        text = line.text
    else:
        return None
    return f"{_time(line)} {'':<7} {functions.get(line.stream, '-'):<18} {text}"


def _shown_request(line: Line, fields: Mapping[str, Any]) -> str:
    """Return a line of the access log. It has the route, not the path; the route is `$default` if none matched."""
    text = f"{fields['routeKey']}  {fields.get('responseLatency')} ms"
    cause = fields.get("errorType", "-")
    return f"{_time(line)} {fields.get('status', ''):<7} {'api':<18} {text}{f'  {cause}' if cause != '-' else ''}"


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _time(line: Line) -> str:
    return f"{datetime.fromtimestamp(line.at / 1000, UTC):%H:%M:%S}"


if __name__ == "__main__":
    sys.exit(main())
