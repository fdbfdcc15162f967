"""Selection of the stack that a command acts on: the named one, or the local cloud, and never a different one."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import boto3
import jwt
import pytest
from moto import mock_aws

from scripts import client
from scripts.local_cloud import LocalCloud, refuse_other_stacks
from scripts.progress import Failure
from scripts.stacks import DeployedStack
from tests.template import ROOT

NAME = "usage-billing-prod"
URL = "https://prod.example.com"
LOCAL_URL = "http://127.0.0.1:20001/_aws/execute-api/abc/$default"
REGION = "eu-central-1"
SECRET = "a-secret-of-the-tests-that-is-long-enough"

TEMPLATE = {
    "Parameters": {"JwtAlgorithm": {"Type": "String"}},
    "Resources": {"Queue": {"Type": "AWS::SQS::Queue"}},
    "Outputs": {
        "ApiUrl": {"Value": URL},
        "JwtSecretArn": {"Value": "jwt"},
        "JwtIssuer": {"Value": "usage-billing"},
        "JwtAudience": {"Value": "usage-billing-api"},
    },
}


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An account whose region is set by AWS_REGION only."""
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_REGION", REGION)
    with mock_aws():
        yield


def deploy(algorithm: str = "HS256") -> None:
    boto3.client("secretsmanager", region_name=REGION).create_secret(Name="jwt", SecretString=SECRET)
    boto3.client("cloudformation", region_name=REGION).create_stack(
        StackName=NAME,
        TemplateBody=json.dumps(TEMPLATE),
        Parameters=[{"ParameterKey": "JwtAlgorithm", "ParameterValue": algorithm}],
    )


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> None:
    """A local cloud that is running."""
    stack = {"apiUrl": LOCAL_URL, "internalApiKey": "local-key"}
    monkeypatch.setattr(LocalCloud, "stack", lambda _: stack)


def target(monkeypatch: pytest.MonkeyPatch, **environment: str) -> client.Target:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return client.target()


def test_commands_sign_an_admin_token_for_a_stack_with_its_own_signing_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    deploy()
    where = target(monkeypatch, STACK=NAME)
    claims: Any = jwt.decode(
        where.credentials["authorization"].removeprefix("Bearer "),
        SECRET,
        algorithms=["HS256"],
        audience="usage-billing-api",
        issuer="usage-billing",
    )
    assert (where.url, claims["role"], claims["exp"] - claims["iat"]) == (URL, "admin", 3600)


def test_given_credentials_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    deploy("RS256")
    assert target(monkeypatch, STACK=NAME, API_KEY="key").credentials == {"x-api-key": "key"}
    assert target(monkeypatch, TEST_AUTH_TOKEN="token").credentials == {"authorization": "Bearer token"}


def test_a_stack_with_an_identity_provider_needs_given_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    deploy("RS256")
    with pytest.raises(Failure, match=r"(?s)RS256 tokens.*TEST_AUTH_TOKEN.*API_KEY"):
        target(monkeypatch, STACK=NAME)


def test_without_access_to_the_signing_secret_the_error_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    deploy()
    vault = boto3.client("secretsmanager", region_name=REGION)
    vault.delete_secret(SecretId="jwt", ForceDeleteWithoutRecovery=True)
    with pytest.raises(Failure, match=r"(?s)cannot be read: .*ResourceNotFound.*TEST_AUTH_TOKEN.*API_KEY"):
        target(monkeypatch, STACK=NAME)


@pytest.mark.parametrize("url", [URL, f"{URL}/"])
def test_a_url_that_matches_the_stack_is_accepted(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    deploy()
    assert target(monkeypatch, STACK=NAME, API_URL=url).url == URL


def test_a_url_of_another_stack_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    deploy()
    with pytest.raises(Failure, match=r"API_URL is https://dev.example.com, but the API of usage-billing-prod is"):
        target(monkeypatch, STACK=NAME, API_URL="https://dev.example.com")
    with pytest.raises(Failure, match="API_URL"):
        DeployedStack.named(NAME)


def test_a_stack_is_looked_up_in_aws_region(monkeypatch: pytest.MonkeyPatch) -> None:
    deploy()
    assert DeployedStack.named(NAME).outputs["ApiUrl"] == URL
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    with pytest.raises(Failure, match="usage-billing-prod cannot be described in us-west-2"):
        DeployedStack.named(NAME)
    monkeypatch.delenv("AWS_REGION")
    with pytest.raises(Failure, match="set AWS_REGION"):
        DeployedStack.named(NAME)


def test_a_url_alone_needs_credentials(monkeypatch: pytest.MonkeyPatch, local: None) -> None:
    with pytest.raises(Failure, match=r"set TEST_AUTH_TOKEN .* API_KEY"):
        target(monkeypatch, API_URL=URL)
    assert target(monkeypatch, API_KEY="key") == client.Target(URL, {"x-api-key": "key"})


def test_without_a_stack_name_the_target_is_the_local_cloud(monkeypatch: pytest.MonkeyPatch, local: None) -> None:
    assert target(monkeypatch) == client.Target(LOCAL_URL, {"x-api-key": "local-key"})
    assert target(monkeypatch, API_URL=LOCAL_URL).url == LOCAL_URL
    with pytest.raises(Failure, match="the API of the local cloud is"):
        target(monkeypatch, API_URL="http://127.0.0.1:20002/elsewhere")


def test_a_url_elsewhere_is_never_combined_with_the_local_stack(monkeypatch: pytest.MonkeyPatch, local: None) -> None:
    monkeypatch.setenv("API_URL", URL)
    with pytest.raises(Failure, match="set STACK to its name"):
        DeployedStack.named(None)


@pytest.mark.parametrize("variable", [{"STACK": NAME}, {"API_URL": URL}], ids=["STACK", "API_URL"])
@pytest.mark.parametrize(
    "command",
    [
        ["scripts.local_cloud", "start"],
        ["scripts.local_cloud", "deploy"],
        ["scripts.local_cloud", "stop"],
        ["scripts.local_cloud", "stop", "--fresh"],
        ["scripts.local_cloud", "status"],
        ["scripts.demo"],
    ],
    ids=" ".join,
)
def test_commands_for_the_local_cloud_refuse_to_act_on_another(command: list[str], variable: dict[str, str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=os.environ | variable,
        capture_output=True,
        text=True,
        check=False,
    )
    [(name, value)] = variable.items()
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "works only with the local cloud" in ran.stderr
    assert f"{name}={value}" in ran.stderr


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACK", "")
    monkeypatch.setenv("API_URL", "")
    refuse_other_stacks()
    monkeypatch.setenv("API_URL", LOCAL_URL)
    refuse_other_stacks()
