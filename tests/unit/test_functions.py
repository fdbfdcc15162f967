"""The files of functions/ and the functions of the template are the same, with the same routes."""

import importlib
import os
import subprocess
import sys

import pytest

from tests.api import routes
from tests.template import ROOT, functions, handler_module, template, variables

FILES = sorted(path.stem for path in (ROOT / "functions").glob("*.py"))


def test_every_function_file_is_a_function_in_the_template() -> None:
    assert sorted(map(handler_module, functions().values())) == FILES


@pytest.mark.parametrize("name", FILES)
def test_a_handler_can_be_imported_without_environment_variables(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in variables():
        monkeypatch.delenv(variable, raising=False)
    assert callable(importlib.import_module(name).handler)


@pytest.mark.parametrize("name", FILES)
def test_a_function_has_the_routes_that_the_template_sends_to_it(name: str) -> None:
    app = getattr(importlib.import_module(name), "app", None)
    built = {(route.method, route.openapi_path) for route in app._static_routes + app._dynamic_routes} if app else set()
    assert {(method, snake(path)) for (method, path), target in routes().items() if target == name} == built


def snake(path: str) -> str:
    """A path with its parameters in snake_case, as in Python. The template has them in camelCase."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in path)


def test_no_two_functions_share_a_route() -> None:
    events = [
        (event["Properties"]["Method"], event["Properties"]["Path"])
        for function in functions().values()
        for event in function["Properties"].get("Events", {}).values()
        if event["Type"] == "HttpApi" and "Path" in event["Properties"]  # $default has no path
    ]
    assert len(events) == len(set(events)) == len(routes())


def test_a_function_behind_the_api_times_out_before_api_gateway_does() -> None:
    default = template()["Globals"]["Function"]["Timeout"]
    for function in functions().values():
        events = function["Properties"].get("Events", {}).values()
        if any(event["Type"] == "HttpApi" for event in events):
            assert function["Properties"].get("Timeout", default) < 30


def test_the_daily_schedule_and_the_billing_queue_start_the_same_function() -> None:
    [billing] = [function for function in functions().values() if handler_module(function) == "run_billing"]
    events = billing["Properties"]["Events"]
    assert sorted(event["Type"] for event in events.values()) == ["SQS", "Schedule"]
    assert template()["Parameters"]["BillingSchedule"]["Default"] == "cron(0 0 * * ? *)"
    assert events["Queue"]["Properties"]["BatchSize"] == 1


@pytest.mark.parametrize("name", FILES)
def test_an_imported_handler_freezes_its_objects_and_keeps_the_default_gc_thresholds(name: str) -> None:
    code = f"import gc; default = gc.get_threshold(); import {name}; "
    code += "assert gc.get_threshold() == default; assert gc.get_freeze_count() > 1000"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
