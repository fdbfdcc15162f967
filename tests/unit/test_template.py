"""What is written twice must agree: settings, models, routes, errors - and the template that deploys them."""

import importlib
import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest

from bench import cost
from tests.api import routes
from tests.template import ROOT, functions, nested, tables_template, template, variables
from usage_billing.kernel.errors import BillingError
from usage_billing.platform import memory, tables
from usage_billing.platform.config import Settings, settings
from usage_billing.web import problems

FILES = sorted(path.stem for path in (ROOT / "functions").glob("*.py"))


def leaves(error: type[BillingError]) -> set[type[BillingError]]:
    below = error.__subclasses__()
    return {leaf for each in below for leaf in leaves(each)} if below else {error}


def module(function: dict[str, Any]) -> str:
    return function["Properties"]["Handler"].removesuffix(".handler")


def statements(function: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for policy in function["Properties"].get("Policies", []) for each in policy["Statement"]]


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_every_billing_error_has_a_status_and_a_code_of_its_own() -> None:
    assert set(problems.STATUS) == leaves(BillingError)
    codes = [error.code for error in problems.STATUS]
    assert len(set(codes)) == len(codes)


def test_settings_are_the_templates_variables() -> None:
    names = {name for name in variables() if not name.startswith("POWERTOOLS_")}
    assert names == {str(field.alias) for field in Settings.model_fields.values()}
    assert names == {name.upper() for name in Settings.model_fields}


def test_only_the_settings_read_the_environment() -> None:
    for path in [*(ROOT / "layers/usage_billing/usage_billing").rglob("*.py"), *(ROOT / "functions").glob("*.py")]:
        assert not re.search(r"environ\b|getenv", path.read_text()) or path.name == "config.py"


def test_missing_settings_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in variables():
        monkeypatch.setenv(name, "RS256")
    monkeypatch.setenv("CUSTOMERS_MAY_RECORD", "true")
    assert settings().jwt_issuer == "RS256"
    memory.forget()
    monkeypatch.delenv("USAGE_TABLE")
    monkeypatch.setenv("JWT_ALGORITHM", "none")
    with pytest.raises(RuntimeError, match=r"^missing or wrong in the environment: USAGE_TABLE, JWT_ALGORITHM$"):
        settings()


@pytest.mark.parametrize("model", tables.ALL, ids=lambda model: model.__name__)
def test_a_models_keys_and_indexes_are_the_tables(model: type[tables.Table]) -> None:
    declared = tables_template()["Resources"][model.__name__]["Properties"]
    known = model._get_schema()
    assert by_kind(known["key_schema"]) == by_kind(declared["KeySchema"])
    assert {
        each["index_name"]: (by_kind(each["key_schema"]), each["projection"]["ProjectionType"])
        for each in known["global_secondary_indexes"]
    } == {
        each["IndexName"]: (by_kind(each["KeySchema"]), each["Projection"]["ProjectionType"])
        for each in declared.get("GlobalSecondaryIndexes", [])
    }
    assert {each["AttributeName"]: each["AttributeType"] for each in known["attribute_definitions"]} == {
        each["AttributeName"]: each["AttributeType"] for each in declared["AttributeDefinitions"]
    }


def by_kind(keys: list[dict[str, str]]) -> dict[str, str]:
    return {each["KeyType"]: each["AttributeName"] for each in keys}


def test_the_models_are_all_the_tables() -> None:
    declared = {n for n, r in tables_template()["Resources"].items() if r["Type"] == "AWS::DynamoDB::Table"}
    assert {model.__name__ for model in tables.ALL} == declared
    assert {model.setting for model in tables.ALL} == {
        name for name in Settings.model_fields if name.endswith("_table")
    }


def test_every_function_file_is_one_function_of_the_template() -> None:
    assert sorted(map(module, functions().values())) == FILES


@pytest.mark.parametrize("name", FILES)
def test_a_handler_exists_and_importing_it_needs_no_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in variables():
        monkeypatch.delenv(variable, raising=False)
    assert callable(importlib.import_module(name).handler)


@pytest.mark.parametrize("name", FILES)
def test_what_a_function_answers_is_what_the_template_routes_to_it(name: str) -> None:
    app = getattr(importlib.import_module(name), "app", None)
    built = {(route.method, route.openapi_path) for route in app._static_routes + app._dynamic_routes} if app else set()
    assert {(method, snake(path)) for (method, path), target in routes().items() if target == name} == built


def snake(path: str) -> str:
    """A path whose parameters are named alike: the template's are camelCase, Python's snake_case."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in path)


PARAMETER = re.compile(r"\$\{(\w+)\}")


@pytest.mark.parametrize("function", functions().values(), ids=functions())
def test_a_changed_parameter_publishes_a_new_version(function: dict[str, Any]) -> None:
    described = PARAMETER.findall(function["Properties"]["VersionDescription"]["Fn::Sub"])
    references = [value["Ref"] for value in variables().values() if "Ref" in value]
    assert {name for name in references if name in template()["Parameters"]} == set(described)


def test_a_versions_description_fits_whatever_the_parameters_say() -> None:
    parameters = template()["Parameters"]
    for function in functions().values():
        description = function["Properties"]["VersionDescription"]["Fn::Sub"]
        longest = PARAMETER.sub(
            lambda match: (
                "x" * parameters[match[1]].get("MaxLength", 0) or max(parameters[match[1]]["AllowedValues"], key=len)
            ),
            description,
        )
        assert len(longest) <= 256


REFERENCE = re.compile(r"(?:\['|\$\{)(\w+)(?:', '|\.)Outputs\.(\w+)")


def test_the_template_uses_the_outputs_that_its_nested_stacks_have() -> None:
    used = set(REFERENCE.findall(str(template())))
    assert used == {(stack, output) for stack, each in nested().items() for output in each.get("Outputs", {})}


@pytest.mark.parametrize("stack", [name for name, each in nested().items() if "Outputs" in each])
def test_a_nested_stacks_output_is_named_after_its_resource(stack: str) -> None:
    for name, output in nested()[stack]["Outputs"].items():
        [reference] = output["Value"].values()
        resource = reference if isinstance(reference, str) else reference[0]
        assert resource in nested()[stack]["Resources"]
        assert name.removeprefix(resource) in {"Arn", "Name", "Url"}, name


def test_no_two_functions_share_a_route() -> None:
    events = [
        (event["Properties"]["Method"], event["Properties"]["Path"])
        for function in functions().values()
        for event in function["Properties"].get("Events", {}).values()
        if event["Type"] == "HttpApi" and "Path" in event["Properties"]  # the one without takes the rest
    ]
    assert len(events) == len(set(events)) == len(routes())


@pytest.mark.parametrize("function", functions().values(), ids=functions())
def test_a_functions_rights_are_spelled_out(function: dict[str, Any]) -> None:
    for statement in statements(function):
        assert statement["Effect"] == "Allow"
        for action in as_list(statement["Action"]):
            assert "*" not in action
        for resource in as_list(statement["Resource"]):
            assert "*" not in str(resource)
            assert isinstance(resource, dict), "a resource is named by reference"


@pytest.mark.parametrize("function", functions().values(), ids=functions())
def test_only_what_writes_may_write(function: dict[str, Any]) -> None:
    writes = {"dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "sqs:SendMessage"}
    may = {action for statement in statements(function) for action in as_list(statement["Action"])}
    assert ("dynamodb:DeleteItem" in may) == (module(function) in ("redrive_events", "drop_events"))
    if module(function).startswith(("get_", "list_")):
        assert not may & writes


def test_every_table_and_index_that_each_event_writes_has_an_alarm_for_throttled_writes() -> None:
    alarms = nested()["Alarms"]["Resources"].values()
    throttled = [each["Properties"] for each in alarms if each["Properties"].get("MetricName") == "WriteThrottleEvents"]
    watched = {
        (named["TableName"]["Ref"].removesuffix("Name"), named.get("GlobalSecondaryIndexName"))
        for named in ({each["Name"]: each["Value"] for each in alarm["Dimensions"]} for alarm in throttled)
    }
    declared = tables_template()["Resources"]
    assert watched == {
        (name, index)
        for name in ("UsageTable", "UsageSummaryTable")
        for index in [None, *(each["IndexName"] for each in declared[name]["Properties"]["GlobalSecondaryIndexes"])]
    }


def test_only_dead_events_may_be_deleted() -> None:
    for function in functions().values():
        for statement in statements(function):
            if "dynamodb:DeleteItem" in as_list(statement["Action"]):
                assert statement["Resource"] == {"Fn::GetAtt": ["Tables", "Outputs.DeadEventTableArn"]}


def test_a_message_of_any_size_fits_into_a_dead_event() -> None:
    queues = nested()["Queues"]["Resources"]
    for name in ("UsageQueue", "UsageDeadLetterQueue"):
        assert queues[name]["Properties"]["MaximumMessageSize"] <= 300_000, "an item holds 400 KB"


def test_what_sqs_moves_aside_is_stored_by_a_function() -> None:
    function = template()["Resources"]["StoreDeadLettersFunction"]["Properties"]
    queue = nested()["Queues"]["Resources"]["UsageDeadLetterQueue"]["Properties"]
    source = function["Events"]["Queue"]["Properties"]["Queue"]
    assert source == {"Fn::GetAtt": ["Queues", "Outputs.UsageDeadLetterQueueArn"]}
    assert function["Events"]["Queue"]["Properties"]["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert queue["VisibilityTimeout"] == 6 * function["Timeout"]


def test_dead_events_ring_for_each_new_one_and_not_for_how_many_there_are() -> None:
    alarms = nested()["Alarms"]["Resources"]
    assert alarms["EventsDead"]["Properties"]["MetricName"] == "EventsDead"
    assert alarms["EventsDead"]["Properties"]["Statistic"] == "Sum"


def test_nothing_scans_a_table() -> None:
    for function in functions().values():
        for statement in statements(function):
            assert "dynamodb:Scan" not in as_list(statement["Action"])


def test_a_function_that_answers_http_ends_before_api_gateway_hangs_up() -> None:
    default = template()["Globals"]["Function"]["Timeout"]
    for function in functions().values():
        events = function["Properties"].get("Events", {}).values()
        if any(event["Type"] == "HttpApi" for event in events):
            assert function["Properties"].get("Timeout", default) < 30


NOT_FOR_CALLERS_TO_WORD = {
    "requestId",
    "requestTime",
    "identity.sourceIp",  # of the connection, not of a header
    "routeKey",  # the route as the template writes it, $default for every path that has none
    "status",
    "responseLength",
    "responseLatency",
    "integrationLatency",
    "integrationStatus",
    "integration.requestId",
    "error.responseType",  # one of API Gateway's own names
}
"""API Gateway escapes nothing: whoever could put a quote into a line could forge another."""


def test_an_access_log_line_holds_nothing_that_a_caller_words() -> None:
    line = template()["Resources"]["Api"]["Properties"]["AccessLogSettings"]["Format"]
    assert set(re.findall(r"\$(?:context\.)?([\w.]+)", line)) == NOT_FOR_CALLERS_TO_WORD
    written = re.sub(r"\$context\.([\w.]+)", r"\1", line)
    assert "$" not in written, "other sources than the context"
    assert set(json.loads(written).values()) == NOT_FOR_CALLERS_TO_WORD, "each stands between quotes of its own"


def test_the_queries_ask_for_what_the_access_log_has() -> None:
    line = json.loads(template()["Resources"]["Api"]["Properties"]["AccessLogSettings"]["Format"])
    [query] = re.findall(r"vendedlogs[^`]*`[^`]*```\n(.*?)```", (ROOT / "docs/operations.md").read_text(), re.DOTALL)
    assert set(re.findall(r"by ([\w, ]+?) \|", query)[0].split(", ")) <= set(line)


def test_the_daily_schedule_and_the_queue_start_the_same_function() -> None:
    [billing] = [function for function in functions().values() if module(function) == "run_billing"]
    events = billing["Properties"]["Events"]
    assert sorted(event["Type"] for event in events.values()) == ["SQS", "Schedule"]
    assert template()["Parameters"]["BillingSchedule"]["Default"] == "cron(0 0 * * ? *)"
    assert events["Queue"]["Properties"]["BatchSize"] == 1


@pytest.mark.parametrize("name", FILES)
def test_a_function_that_is_complete_looks_for_garbage_as_usual(name: str) -> None:
    code = f"import gc; usual = gc.get_threshold(); import {name}; "
    code += "assert gc.get_threshold() == usual; assert gc.get_freeze_count() > 1000"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})


def test_the_benchmark_knows_what_an_access_log_line_holds() -> None:
    """It prices the line; what it does not know it would find out at its very end."""
    assert 200 < cost.access_line() < 1000
