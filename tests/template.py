"""The deployed templates, parsed, so that no test repeats what they define."""

from functools import cache
from pathlib import Path
from typing import Any

from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).parent.parent


def parsed(path: str) -> dict[str, Any]:
    """The template at `path`, with the short forms of intrinsic functions expanded."""
    content: dict[str, Any] = yaml_parse((ROOT / path).read_text())
    return content


@cache
def template() -> dict[str, Any]:
    return parsed("template.yaml")


@cache
def nested() -> dict[str, dict[str, Any]]:
    """The templates of the nested stacks, by their logical ids in template.yaml."""
    stacks = {k: v for k, v in template()["Resources"].items() if v["Type"] == "AWS::CloudFormation::Stack"}
    return {k: parsed(v["Properties"]["TemplateURL"]) for k, v in stacks.items()}


def tables_template() -> dict[str, Any]:
    return nested()["Tables"]


def tables_body() -> str:
    """The text of infra/tables.yaml."""
    return (ROOT / "infra" / "tables.yaml").read_text()


def functions() -> dict[str, Any]:
    """The resources of all functions, by logical id."""
    return {k: v for k, v in template()["Resources"].items() if v["Type"] == "AWS::Serverless::Function"}


def handler_module(function: dict[str, Any]) -> str:
    """The name of the module that holds the handler of a function."""
    handler: str = function["Properties"]["Handler"]
    return handler.removesuffix(".handler")


def variables() -> dict[str, Any]:
    """The environment variables of all functions."""
    found: dict[str, Any] = template()["Globals"]["Function"]["Environment"]["Variables"]
    return found
