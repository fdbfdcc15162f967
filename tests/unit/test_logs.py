"""How `make logs` shows what a stack logs, and that it shows each line once."""

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


def test_a_functions_line() -> None:
    line = {"level": "WARNING", "message": "request refused", "function_name": f"{STACK}-record-usage", "status": 409}
    line |= {"code": "event_id_conflict", "cold_start": True, "service": STACK, "timestamp": "2026-11-25"}
    found = text(line)
    assert found == "12:00:00 WARNING record-usage       request refused  status=409  code=event_id_conflict"


def test_an_exception_keeps_its_lines() -> None:
    found = text({"level": "ERROR", "message": "internal error", "exception": "Traceback:\n  KeyError"})
    assert found
    assert found.splitlines()[1:] == ["    Traceback:", "      KeyError"]


def access_line(**said: str) -> str:
    """A line of the access log as the template words it; what API Gateway has nothing to say of is `-`."""
    written: str = template()["Resources"]["Api"]["Properties"]["AccessLogSettings"]["Format"]
    variables = re.findall(r"\$context\.([\w.]+)", written)
    assert set(said) <= {each.replace(".", "_") for each in variables}
    return re.sub(r"\$context\.([\w.]+)", lambda found: said.get(found[1].replace(".", "_"), "-"), written)


@pytest.mark.parametrize(
    ("said", "expected"),
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
def test_a_request_to_the_api(said: dict[str, str], expected: str) -> None:
    assert text(access_line(**({"routeKey": "POST /api/usage/record"} | said))) == f"12:00:00 {expected}"


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
def test_what_nobody_reads_is_left_out(noise: str | dict[str, Any]) -> None:
    assert text(noise) is None


def test_an_invocation_says_how_long_it_took() -> None:
    report = "REPORT RequestId: 1\tDuration: 12.34 ms\tBilled Duration: 13 ms"
    assert text(report) == "12:00:00         record-usage       took 12 ms"
    assert text(report, EMULATED_STREAM) is None


@pytest.mark.parametrize("message", ["Task timed out after 10 seconds", "[1, 2]"])
def test_what_is_no_line_of_ours_is_shown_as_it_is(message: str) -> None:
    assert text(message) == f"12:00:00         record-usage       {message}"


class Groups:
    """Log groups that give, each time they are asked, what had arrived by then; the last time somebody ends it."""

    def __init__(self, *polls: dict[str, list[tuple[int, str]]]) -> None:
        self.polls = list(polls)
        self.asked: list[int] = []

    def get_paginator(self, name: str) -> "Groups":
        assert name == "filter_log_events"
        return self

    def paginate(self, **asked: Any) -> list[dict[str, Any]]:
        self.asked.append(asked["startTime"])
        events = self.polls[0].get(asked["logGroupName"], [])
        if asked["logGroupName"] == "access":
            self.polls.pop(0)
        return [
            {"events": [{"timestamp": at, "logStreamName": "s", "message": message}]}
            for at, message in events
            if at >= asked["startTime"]
        ]


def test_lines_come_once_and_in_order_over_all_groups(
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
    assert groups.asked[-1] == NOON - 10_000, "lines that come late are asked for"
