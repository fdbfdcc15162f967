"""The templates: versions, outputs of nested stacks, queues and alarms."""

import re
from typing import Any

import pytest

from tests.template import functions, nested, tables_template, template, variables

PARAMETER = re.compile(r"\$\{(\w+)\}")


@pytest.mark.parametrize("function", functions().values(), ids=functions())
def test_a_changed_parameter_publishes_a_new_version(function: dict[str, Any]) -> None:
    described = PARAMETER.findall(function["Properties"]["VersionDescription"]["Fn::Sub"])
    references = [value["Ref"] for value in variables().values() if "Ref" in value]
    assert {name for name in references if name in template()["Parameters"]} == set(described)


def test_the_description_of_a_version_is_short_enough_for_every_parameter_value() -> None:
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


def test_the_template_uses_every_output_of_its_nested_stacks() -> None:
    used = set(REFERENCE.findall(str(template())))
    assert used == {(stack, output) for stack, each in nested().items() for output in each.get("Outputs", {})}


@pytest.mark.parametrize("stack", [name for name, each in nested().items() if "Outputs" in each])
def test_an_output_of_a_nested_stack_is_named_after_its_resource(stack: str) -> None:
    for name, output in nested()[stack]["Outputs"].items():
        [reference] = output["Value"].values()
        resource = reference if isinstance(reference, str) else reference[0]
        assert resource in nested()[stack]["Resources"]
        assert name.removeprefix(resource) in {"Arn", "Name", "Url"}, name


def test_every_table_and_index_that_recording_writes_has_an_alarm_for_throttled_writes() -> None:
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


def test_a_message_of_the_maximum_size_fits_into_a_dead_event() -> None:
    queues = nested()["Queues"]["Resources"]
    for name in ("UsageQueue", "UsageDeadLetterQueue"):
        assert queues[name]["Properties"]["MaximumMessageSize"] <= 300_000, "an item of DynamoDB has at most 400 KB"


def test_a_function_stores_the_messages_of_the_dead_letter_queue() -> None:
    function = template()["Resources"]["StoreDeadLettersFunction"]["Properties"]
    queue = nested()["Queues"]["Resources"]["UsageDeadLetterQueue"]["Properties"]
    source = function["Events"]["Queue"]["Properties"]["Queue"]
    assert source == {"Fn::GetAtt": ["Queues", "Outputs.UsageDeadLetterQueueArn"]}
    assert function["Events"]["Queue"]["Properties"]["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert queue["VisibilityTimeout"] == 6 * function["Timeout"]


def test_the_alarm_for_dead_events_counts_new_ones_only() -> None:
    alarms = nested()["Alarms"]["Resources"]
    assert alarms["EventsDead"]["Properties"]["MetricName"] == "EventsDead"
    assert alarms["EventsDead"]["Properties"]["Statistic"] == "Sum"
