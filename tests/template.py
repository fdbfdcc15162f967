"""The deployed template as the tests see it, so that nothing in it is typed a second time."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).parent.parent


@cache
def template() -> dict[str, Any]:
    """template.yaml, with CloudFormation's short forms spelled out."""
    return yaml_parse((ROOT / "template.yaml").read_text())


@cache
def nested() -> dict[str, dict[str, Any]]:
    """The templates of the nested stacks, by the stack's logical id in template.yaml."""
    stacks = {k: v for k, v in template()["Resources"].items() if v["Type"] == "AWS::CloudFormation::Stack"}
    return {k: yaml_parse((ROOT / v["Properties"]["TemplateURL"]).read_text()) for k, v in stacks.items()}


def tables_template() -> dict[str, Any]:
    return nested()["Tables"]


def tables_body() -> str:
    """infra/tables.yaml as CloudFormation takes it."""
    return (ROOT / "infra" / "tables.yaml").read_text()


def functions() -> dict[str, Any]:
    """The functions by logical id."""
    return {k: v for k, v in template()["Resources"].items() if v["Type"] == "AWS::Serverless::Function"}


def variables() -> dict[str, Any]:
    return template()["Globals"]["Function"]["Environment"]["Variables"]


__all__ = ["ROOT", "functions", "nested", "tables_body", "tables_template", "template", "variables", "yaml"]
