"""The IAM policies of the functions allow what each function needs, and nothing else."""

from typing import Any

import pytest

from tests.template import functions, handler_module

MAY_DELETE = {
    "redrive_events": "DeadEventTable",
    "drop_events": "DeadEventTable",
    "delete_quota_version": "UsageQuotaTable",
}
"""The functions that may delete items, and the table that they may delete them from."""


def statements(function: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for policy in function["Properties"].get("Policies", []) for each in policy["Statement"]]


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize("function", functions().values(), ids=functions())
def test_a_function_may_call_only_named_actions_on_named_resources(function: dict[str, Any]) -> None:
    for statement in statements(function):
        assert statement["Effect"] == "Allow"
        for action in as_list(statement["Action"]):
            assert "*" not in action
        for resource in as_list(statement["Resource"]):
            assert "*" not in str(resource)
            assert isinstance(resource, dict), "the resource is not a reference"


@pytest.mark.parametrize("function", functions().values(), ids=functions())
def test_only_functions_that_write_may_write(function: dict[str, Any]) -> None:
    writes = {"dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "sqs:SendMessage"}
    may = {action for statement in statements(function) for action in as_list(statement["Action"])}
    assert ("dynamodb:DeleteItem" in may) == (handler_module(function) in MAY_DELETE)
    if handler_module(function).startswith(("get_", "list_")):
        assert not may & writes


def test_only_dead_events_and_versions_of_quotas_may_be_deleted() -> None:
    for function in functions().values():
        for statement in statements(function):
            if "dynamodb:DeleteItem" in as_list(statement["Action"]):
                table = MAY_DELETE[handler_module(function)]
                assert statement["Resource"] == {"Fn::GetAtt": ["Tables", f"Outputs.{table}Arn"]}


def test_no_function_may_scan_a_table() -> None:
    for function in functions().values():
        for statement in statements(function):
            assert "dynamodb:Scan" not in as_list(statement["Action"])
