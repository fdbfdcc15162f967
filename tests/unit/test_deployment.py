"""`make deploy`: the options that it passes to SAM, and what it refuses before it builds anything."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.deployment import chosen, deploy_command
from scripts.progress import Failure
from tests.template import ROOT


def overrides(*, stage: str = "prod", **environment: str) -> dict[str, str]:
    command = list(deploy_command(chosen(stage, environment)))
    words = command[command.index("--parameter-overrides") + 1 :]
    return dict(shlex.split(word)[0].split("=", 1) for word in words)


def test_given_parameters_extend_and_replace_those_of_the_stage() -> None:
    assert overrides() == {"Stage": "prod", "LogRetentionDays": "365"}
    given = "AlarmEmail=ops@example.com BillingSchedule='cron(0 6 * * ? *)' LogRetentionDays=400"
    assert overrides(PARAMETERS=given) == {
        "Stage": "prod",
        "LogRetentionDays": "400",
        "AlarmEmail": "ops@example.com",
        "BillingSchedule": "cron(0 6 * * ? *)",
    }


@pytest.mark.parametrize(
    ("environment", "region"),
    [
        pytest.param({}, "us-east-1", id="from samconfig.toml"),
        pytest.param({"AWS_REGION": "eu-central-1"}, "eu-central-1", id="from the environment"),
    ],
)
def test_the_region_comes_from_the_environment_or_from_samconfig(environment: dict[str, str], region: str) -> None:
    command = list(deploy_command(chosen("dev", environment)))
    assert command[command.index("--region") + 1] == region


@pytest.mark.parametrize(
    ("stage", "environment", "message"),
    [
        pytest.param("qa", {}, "no stage qa in samconfig.toml. Stages: dev, staging, prod.", id="unknown stage"),
        pytest.param(
            "dev", {"STACK": "usage-billing-prod"}, "STAGE=dev deploys usage-billing-dev", id="stack of another stage"
        ),
        pytest.param("dev", {"PARAMETERS": "AlarmMail=a@b.c"}, "no parameter AlarmMail", id="unknown parameter"),
        pytest.param("dev", {"PARAMETERS": "Stage=prod"}, "Stage is set by STAGE=...", id="another stage"),
        pytest.param("dev", {"PARAMETERS": "cron(0 6"}, "is not a parameter", id="value without a name"),
        pytest.param("dev", {"PARAMETERS": "LogLevel='DEBUG"}, "cannot be read", id="unclosed quote"),
    ],
)
def test_a_wrong_stage_stack_or_parameter_is_refused(stage: str, environment: dict[str, str], message: str) -> None:
    with pytest.raises(Failure) as refused:
        chosen(stage, environment)
    assert message in str(refused.value)


def test_a_stack_that_belongs_to_the_stage_is_accepted() -> None:
    assert chosen("dev", {"STACK": "usage-billing-dev"}).stack == "usage-billing-dev"


def test_an_unknown_stage_fails_before_anything_is_built() -> None:
    command = [sys.executable, "-m", "scripts.deployment", "--stage", "qa"]
    ran = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert (ran.stdout, "dev, staging, prod" in ran.stderr) == ("", True)


def test_missing_credentials_fail_before_anything_is_built(tmp_path: Path) -> None:
    nothing = {"AWS_CONFIG_FILE": str(tmp_path / "none"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none")}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment = kept | nothing | {"AWS_EC2_METADATA_DISABLED": "true"}
    command = [sys.executable, "-m", "scripts.deployment", "--stage", "dev"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("AWS credentials are needed: set AWS_PROFILE, or log in (")
