"""The parameters of the template, the names that depend on the stack, and the resources that outlive it."""

import copy
import re
from functools import cache
from typing import Any

import pytest
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

from scripts.deployment import MAX_STACK_NAME
from tests.template import ROOT, functions, nested, template

MAX_FUNCTION_NAME = 64
NO_VALUE = {"Ref": "AWS::NoValue"}


@cache
def transformed(**parameters: str) -> dict[str, Any]:
    """The result of SAM's transform of template.yaml with these parameters."""
    source = copy.deepcopy(template())
    source["Globals"]["Function"]["CodeUri"] = "s3://bucket/functions"
    for resource in source["Resources"].values():
        if "ContentUri" in resource.get("Properties", {}):
            resource["Properties"]["ContentUri"] = "s3://bucket/layer"
    result: dict[str, Any] = Translator({}, Parser()).translate(source, dict(parameters))
    return result


def resources(kind: str) -> dict[str, Any]:
    """All resources of a type, in template.yaml and in the nested stacks."""
    stacks = [template(), *nested().values()]
    return {name: each for stack in stacks for name, each in stack["Resources"].items() if each["Type"] == kind}


def accepts(parameter: str, value: str) -> bool:
    return bool(re.search(template()["Parameters"][parameter]["AllowedPattern"], value))


@pytest.fixture(autouse=True)
def region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


@pytest.mark.parametrize("function", functions().values(), ids=functions())
def test_a_function_name_is_short_enough_with_the_longest_stack_name(function: dict[str, Any]) -> None:
    """A name that CloudFormation chooses would also fit, but nobody could guess the names of logs and metrics."""
    prefix, _, suffix = function["Properties"]["FunctionName"]["Fn::Sub"].partition("${AWS::StackName}")
    assert prefix == ""
    assert re.fullmatch(r"-[a-z]+(-[a-z]+)*", suffix)
    assert MAX_STACK_NAME + len(suffix) <= MAX_FUNCTION_NAME


def test_the_stack_names_of_samconfig_are_short_enough() -> None:
    names = re.findall(r'^stack_name = "(.+)"$', (ROOT / "samconfig.toml").read_text(), re.MULTILINE)
    assert len(names) == 3
    assert all(len(name) <= MAX_STACK_NAME for name in names)


@pytest.mark.parametrize("kind", ["AWS::SQS::Queue", "AWS::SecretsManager::Secret"])
def test_queues_and_secrets_outlive_their_stack(kind: str) -> None:
    """A failed creation leaves none, and no name is fixed, so that the next stack can create its own."""
    found = resources(kind)
    assert found
    for name, resource in found.items():
        assert resource["DeletionPolicy"] == "RetainExceptOnCreate", name
        assert resource["UpdateReplacePolicy"] == "Retain", name
        assert not {"QueueName", "Name"} & resource.get("Properties", {}).keys(), name


@pytest.mark.parametrize("origins", ["https://app.example.com", "https://a.example.com,http://localhost:5173", "*"])
def test_allowed_origins_configure_cors(origins: str) -> None:
    assert accepts("AllowedOrigins", origins)
    condition, allowed, otherwise = cors(AllowedOrigins=origins)["Fn::If"]
    assert template()["Conditions"][condition] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "AllowedOrigins"}, ""]}]}
    assert otherwise == NO_VALUE
    assert allowed["allowOrigins"] == {"Fn::Split": [",", origins]}
    # Credentials come in headers, never in cookies. `*` would not include `authorization`.
    assert "allowCredentials" not in allowed
    assert set(allowed["allowHeaders"]) >= {"authorization", "x-api-key", "content-type", "idempotency-key", "prefer"}
    assert set(allowed["exposeHeaders"]) >= {"retry-after", "www-authenticate", "allow"}
    assert allowed["allowMethods"] == ["*"]


def cors(**parameters: str) -> Any:
    return transformed(**parameters)["Resources"]["Api"]["Properties"]["Body"]["x-amazon-apigateway-cors"]


@pytest.mark.parametrize(
    "origins",
    [
        "https://app.example.com/",
        "https://app.example.com, https://b.example.com",
        "app.example.com",
        "*,https://a.example.com",
    ],
)
def test_a_value_that_is_not_an_origin_is_refused(origins: str) -> None:
    assert not accepts("AllowedOrigins", origins)


def test_no_origin_is_allowed_by_default() -> None:
    assert template()["Parameters"]["AllowedOrigins"]["Default"] == ""
    assert accepts("AllowedOrigins", "")


def test_a_custom_domain_is_mapped_to_the_api_and_shown_in_the_output() -> None:
    made = transformed()["Resources"]
    assert made["ApiMapping"]["Properties"] == {
        "ApiId": {"Ref": "Api"},
        "DomainName": {"Ref": "ApiDomainName"},
        "Stage": {"Ref": "ApiApiGatewayDefaultStage"},
    }
    assert made["ApiApiGatewayDefaultStage"]["Type"] == "AWS::ApiGatewayV2::Stage"
    assert {name: made[name]["Condition"] for name in ("ApiDomainName", "ApiMapping", "ApiDnsRecord")} == {
        "ApiDomainName": "HasDomainName",
        "ApiMapping": "HasDomainName",
        "ApiDnsRecord": "HasHostedZone",
    }
    condition, own, _ = template()["Outputs"]["ApiUrl"]["Value"]["Fn::If"]
    assert (condition, own) == ("HasDomainName", {"Fn::Sub": "https://${DomainName}"})
    assert accepts("DomainName", "usage.example.com")
    assert not accepts("DomainName", "https://usage.example.com")


@pytest.mark.parametrize(
    ("function", "parameter", "condition"),
    [
        pytest.param("ConsumeUsageFunction", "ConsumerConcurrency", "ReservesConsumer", id="consumer"),
        pytest.param("RunBillingFunction", "BillingConcurrency", "ReservesBilling", id="billing"),
    ],
)
def test_reserved_concurrency_is_none_or_at_least_what_the_queues_start(
    function: str, parameter: str, condition: str
) -> None:
    """With less, deliveries are throttled, and SQS counts each throttled delivery as a failed one."""
    properties = functions()[function]["Properties"]
    assert properties["ReservedConcurrentExecutions"] == {"Fn::If": [condition, {"Ref": parameter}, NO_VALUE]}
    assert template()["Conditions"][condition] == {"Fn::Not": [{"Fn::Equals": [{"Ref": parameter}, "0"]}]}
    assert template()["Parameters"][parameter]["Default"] == "0"
    starts = [event["Properties"].get("ScalingConfig", {}) for event in properties["Events"].values()]
    needed = sum(each.get("MaximumConcurrency", 1) for each in starts)
    accepted = [number for number in range(1, 1100) if accepts(parameter, str(number))]
    assert accepted == list(range(needed, 1100))
    assert accepts(parameter, "0")
