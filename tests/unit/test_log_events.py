"""Log events: everything that is logged is one, and the operations manual lists them all."""

import ast
import re
from collections.abc import Iterator

from tests.template import ROOT
from usage_billing.platform.log_events import LogEvent

SOURCES = [ROOT / "layers/usage_billing/usage_billing", ROOT / "functions"]
LEVELS = {"debug": "DEBUG", "info": "INFO", "warning": "WARNING", "error": "ERROR", "exception": "ERROR"}


def logger_calls() -> Iterator[tuple[str, ast.expr]]:
    """The level and the message of each call of the logger."""
    for path in [path for source in SOURCES for path in source.rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
                target = node.func.value
                if isinstance(target, ast.Name) and target.id == "logger":
                    yield LEVELS[node.func.attr], node.args[0]


def listed_in_the_manual() -> dict[str, str]:
    """The level of each log event in the manual."""
    rows = re.findall(r"^\| ([A-Z]+) \| `([^`]+)` \| .+ \|$", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    assert len(rows) == len({message for _, message in rows}), "a message is listed twice"
    return {message: level for level, message in rows}


def test_the_manual_lists_every_log_event() -> None:
    assert set(listed_in_the_manual()) == set(LogEvent)


def test_the_manual_gives_the_level_of_each_log_event() -> None:
    manual = listed_in_the_manual()
    used = [(level, ast.unparse(message)) for level, message in logger_calls()]
    levels = {LogEvent[name.removeprefix("LogEvent.")]: level for level, name in used if name.startswith("LogEvent.")}
    assert levels, "no call of the logger was found"
    assert {event: manual[event] for event in levels} == levels


def test_only_log_events_are_logged() -> None:
    messages = [message for _, message in logger_calls()]
    assert len(messages) > 20
    literal = [ast.unparse(message) for message in messages if isinstance(message, ast.Constant | ast.JoinedStr)]
    assert literal == []


def test_each_log_event_is_used() -> None:
    source = "".join(path.read_text() for place in SOURCES for path in place.rglob("*.py"))
    assert [event.name for event in LogEvent if f"LogEvent.{event.name}" not in source] == []
