"""`make logs`: the form of its lines, and that it shows each line once."""

import json
import re
import time
from typing import Any

import pytest

from scripts import logs
from scripts.logs import Line, shown
from tests.template import template

STACK = "usage-billing-prod"
NOON = 1_795_608_000_000
AWS_STREAM = "2026/11/25/usage-billing-prod-record-usage[12]0123456789abcdef"
EMULATED_STREAM = "2026/11/25/[1]0123456789abcdef"


def text(message: str | dict[str, Any], stream: str = AWS_STREAM) -> str | None:
    written = message if isinstance(message, str) else json.dumps(message)
    return shown(Line("1", NOON, stream, written), STACK, {})


def test_a_line_of_a_function_is_shown_with_its_fields() -> None:
    line = {"level": "WARNING", "message": "request refused", "function_name": f"{STACK}-record-usage", "status": 409}
    line |= {"code": "event_id_conflict", "cold_start": True, "service": STACK, "timestamp": "2026-11-25"}
    found = text(line)
    assert found == "12:00:00 WARNING record-usage       request refused  status=409  code=event_id_conflict"


def test_an_exception_is_shown_with_its_traceback() -> None:
    found = text({"level": "ERROR", "message": "internal error", "exception": "Traceback:\n  KeyError"})
    assert found
    assert found.splitlines()[1:] == ["    Traceback:", "      KeyError"]


def access_line(**values: str) -> str:
    """A line of the access log in the template's format. Variables without a value are `-`, as in API Gateway."""
    written: str = template()["Resources"]["Api"]["Properties"]["AccessLogSettings"]["Format"]
    variables = re.findall(r"\$context\.([\w.]+)", written)
    assert set(values) <= {each.replace(".", "_") for each in variables}
    return re.sub(r"\$context\.([\w.]+)", lambda found: values.get(found[1].replace(".", "_"), "-"), written)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"status": "201", "responseLatency": "31"}, "201     api                POST /api/usage/record  31 ms"),
        (
            {"status": "503", "responseLatency": "9012", "error_responseType": "INTEGRATION_TIMEOUT"},
            "503     api                POST /api/usage/record  9012 ms  INTEGRATION_TIMEOUT",
        ),
        (
            {"status": "404", "routeKey": "$default", "responseLatency": "5"},
            "404     api                $default  5 ms",
        ),
    ],
    ids=["answered by a function", "answered by API Gateway", "no route"],
)
def test_a_request_to_the_api_is_shown_with_its_status_route_and_latency(values: dict[str, str], expected: str) -> None:
    assert text(access_line(**({"routeKey": "POST /api/usage/record"} | values))) == f"12:00:00 {expected}"


@pytest.mark.parametrize(
    "noise",
    [
        pytest.param({"_aws": {"Timestamp": 1}, "EventsRecorded": [1.0]}, id="metrics"),
        pytest.param("START RequestId: 1 Version: 12", id="start"),
        pytest.param("END RequestId: 1", id="end"),
        pytest.param("INIT_START Runtime Version: python:3.13.v50", id="initialization"),
        pytest.param("RESTORE_REPORT Restore Duration: 210.00 ms", id="restored snapshot"),
        pytest.param("", id="empty"),
    ],
)
def test_noise_is_left_out(noise: str | dict[str, Any]) -> None:
    assert text(noise) is None


def test_the_duration_of_an_invocation_is_shown() -> None:
    report = "REPORT RequestId: 1\tDuration: 12.34 ms\tBilled Duration: 13 ms"
    assert text(report) == "12:00:00         record-usage       took 12 ms"
    assert text(report, EMULATED_STREAM) is None


@pytest.mark.parametrize("message", ["Task timed out after 10 seconds", "[1, 2]"])
def test_other_lines_are_shown_unchanged(message: str) -> None:
    assert text(message) == f"12:00:00         record-usage       {message}"


class Groups:
    """Log groups that return, at each poll, the events that had arrived by then."""

    def __init__(self, *polls: dict[str, list[tuple[int, str]]]) -> None:
        self.polls = list(polls)
        self.starts: list[int] = []

    def get_paginator(self, name: str) -> "Groups":
        assert name == "filter_log_events"
        return self

    def paginate(self, **query: Any) -> list[dict[str, Any]]:
        self.starts.append(query["startTime"])
        events = self.polls[0].get(query["logGroupName"], [])
        if query["logGroupName"] == "access":
            self.polls.pop(0)
        return [
            {"events": [{"timestamp": at, "logStreamName": "s", "message": message}]}
            for at, message in events
            if at >= query["startTime"]
        ]


def test_each_line_is_shown_once_and_late_lines_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = {"functions": [(NOON, "one"), (NOON + 2, "three")], "access": [(NOON + 1, "two")]}
    late = {"functions": [*first["functions"], (NOON + 1, "late")], "access": [*first["access"], (NOON + 9, "four")]}
    groups: Any = Groups(first, late)

    def pause(_: float) -> None:
        if not groups.polls:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", pause)
    monkeypatch.setattr(time, "time", lambda: NOON / 1000 + 20)
    with pytest.raises(KeyboardInterrupt):
        logs.follow(groups, ["functions", "access"], STACK, since=NOON / 1000 - 60)
    printed = [line.split()[-1] for line in capsys.readouterr().out.splitlines()]
    assert printed == ["one", "two", "three", "late", "four"]
    assert groups.starts[-1] == NOON - 10_000, "late lines would be missed"
