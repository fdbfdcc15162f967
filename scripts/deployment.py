"""Build and deploy a stage of samconfig.toml to AWS.

python -m scripts.deployment --stage STAGE

PARAMETERS in the environment are merged into the `parameter_overrides` of that section. SAM alone would replace them.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from samtranslator.yaml_helper import yaml_parse

from scripts.emulator import ROOT
from scripts.local_stack import SAM
from scripts.progress import Failure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_STACK_NAME = 45
"""A function's name has at most 64 characters, and the longest suffix takes 19."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A section of samconfig.toml: name, stack name, region and template parameters."""

    name: str
    stack: str
    region: str
    parameters: Mapping[str, str]


def main() -> int:
    parser = argparse.ArgumentParser(description="Build and deploy a stage of samconfig.toml to AWS.")
    parser.add_argument("--stage", required=True)
    try:
        stage = chosen(parser.parse_args().stage, os.environ)
        account = _account(stage)
    except Failure as failure:
        print(failure, file=sys.stderr)
        return 1
    print(f"Deploying {stage.stack} to account {account} in {stage.region}", flush=True)
    for command in ([str(SAM), "build"], deploy_command(stage)):
        if code := subprocess.run(command, cwd=ROOT, check=False).returncode:
            return code
    print(f"\nTo run commands against this stack:\n  export STACK={stage.stack} AWS_REGION={stage.region}")
    return 0


def _account(stage: Stage) -> str:
    """Return the AWS account of the credentials. Checked first, because a build takes minutes.

    Raises:
        Failure: there are no credentials, or AWS rejects them.
    """
    try:
        return str(boto3.client("sts", region_name=stage.region).get_caller_identity()["Account"])
    except (BotoCoreError, ClientError) as error:
        raise Failure(f"AWS credentials are needed: set AWS_PROFILE, or log in ({error}).") from None


def chosen(name: str, environment: Mapping[str, str]) -> Stage:
    """Return the stage `name`, with AWS_REGION and PARAMETERS of the environment applied.

    Raises:
        Failure: no such stage, STACK names the stack of another stage, or the template lacks a parameter.
    """
    stages = _stages()
    if name not in stages:
        raise Failure(f"There is no stage {name} in samconfig.toml. Stages: {', '.join(stages)}.")
    stage = stages[name]
    stack = environment.get("STACK") or stage.stack
    if stack != stage.stack:
        raise Failure(f"STACK is {stack}, but STAGE={name} deploys {stage.stack}. Unset one of them.")
    if len(stack) > MAX_STACK_NAME:
        raise Failure(
            f"The stack name {stack} is too long: at most {MAX_STACK_NAME} characters fit into function names."
        )
    given = _parsed(environment.get("PARAMETERS", ""))
    if given.get("Stage", stage.parameters.get("Stage")) != stage.parameters.get("Stage"):
        raise Failure("Stage is set by STAGE=..., not by PARAMETERS.")
    parameters = {**stage.parameters, **given}
    if unknown := sorted(parameters.keys() - _known_parameters()):
        raise Failure(
            f"template.yaml has no parameter {', '.join(unknown)}. Its parameters: {', '.join(_known_parameters())}."
        )
    return Stage(name, stack, environment.get("AWS_REGION") or stage.region, parameters)


def deploy_command(stage: Stage) -> Sequence[str]:
    overrides = [f"{name}={_quoted(value)}" for name, value in stage.parameters.items()]
    return [
        *(str(SAM), "deploy", "--config-env", stage.name, "--region", stage.region),
        *("--parameter-overrides", *overrides),
    ]


def _stages() -> dict[str, Stage]:
    stages = {}
    for name, section in tomllib.loads((ROOT / "samconfig.toml").read_text()).items():
        if isinstance(section, dict) and "deploy" in section:
            settings = section["deploy"]["parameters"]
            parameters = _parsed(settings.get("parameter_overrides", ""))
            stages[name] = Stage(name, settings["stack_name"], settings["region"], parameters)
    return stages


def _parsed(text: str) -> dict[str, str]:
    """Parse `Name=value Name="a value with spaces"` as a shell would."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise Failure(f"The parameters {text} cannot be read: {error}.") from None
    pairs = [word.partition("=") for word in words]
    for name, equals, _ in pairs:
        if not (name and equals):
            raise Failure(f'{name or equals} is not a parameter: write Name=value, or Name="a value with spaces".')
    return {name: value for name, _, value in pairs}


def _known_parameters() -> Sequence[str]:
    return list(yaml_parse((ROOT / "template.yaml").read_text())["Parameters"])


def _quoted(value: str) -> str:
    """Quote a value for SAM's parser."""
    return '"' + value.replace('"', '\\"') + '"'


if __name__ == "__main__":
    sys.exit(main())
