"""Build and deploy a stage of samconfig.toml to AWS.

python -m scripts.deployment --stage STAGE

PARAMETERS in the environment are added to that section's `parameter_overrides`: SAM by itself would replace them.
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
"""A function's name has 64 characters, of which the longest ending takes 19."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A section of samconfig.toml: its name, stack, region and the parameters of the template."""

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
    print(f"Deploying {stage.stack} to the account {account}, {stage.region}", flush=True)
    for command in ([str(SAM), "build"], deploy_command(stage)):
        if code := subprocess.run(command, cwd=ROOT, check=False).returncode:
            return code
    print(f"\nNext, for the commands that use a stack:\n  export STACK={stage.stack} AWS_REGION={stage.region}")
    return 0


def _account(stage: Stage) -> str:
    """The account that the AWS credentials are for. To build takes minutes, and without credentials for nothing.

    Raises:
        Failure: there are none, or they are not accepted.
    """
    try:
        return str(boto3.client("sts", region_name=stage.region).get_caller_identity()["Account"])
    except (BotoCoreError, ClientError) as error:
        raise Failure(f"AWS credentials are needed: set AWS_PROFILE, or log in ({error}).") from None


def chosen(name: str, environment: Mapping[str, str]) -> Stage:
    """The stage `name`, with what the environment says of it: AWS_REGION, PARAMETERS.

    Raises:
        Failure: there is no such stage, STACK names the stack of another one, or a parameter is not in the template.
    """
    stages = _stages()
    if name not in stages:
        raise Failure(f"There is no stage {name} in samconfig.toml. Stages: {', '.join(stages)}.")
    stage = stages[name]
    stack = environment.get("STACK") or stage.stack
    if stack != stage.stack:
        raise Failure(f"STACK is {stack}, but STAGE={name} deploys {stage.stack}. Unset one of them.")
    if len(stack) > MAX_STACK_NAME:
        raise Failure(f"The stack name {stack} has more than {MAX_STACK_NAME} characters: too long for function names.")
    given = _parsed(environment.get("PARAMETERS", ""))
    if given.get("Stage", stage.parameters.get("Stage")) != stage.parameters.get("Stage"):
        raise Failure("Stage is set by STAGE=..., not in PARAMETERS.")
    parameters = {**stage.parameters, **given}
    if unknown := sorted(parameters.keys() - _known_parameters()):
        raise Failure(f"template.yaml has no parameter {', '.join(unknown)}. It has: {', '.join(_known_parameters())}.")
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
    """`Name=value Name="a value with blanks"`, as a shell would read it."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise Failure(f"The parameters {text} cannot be read: {error}.") from None
    pairs = [word.partition("=") for word in words]
    for name, equals, _ in pairs:
        if not (name and equals):
            raise Failure(f'{name or equals} is not a parameter: write Name=value, or Name="a value with blanks".')
    return {name: value for name, _, value in pairs}


def _known_parameters() -> Sequence[str]:
    return list(yaml_parse((ROOT / "template.yaml").read_text())["Parameters"])


def _quoted(value: str) -> str:
    """As SAM's own parser takes it."""
    return '"' + value.replace('"', '\\"') + '"'


if __name__ == "__main__":
    sys.exit(main())
