"""The Makefile's commands with STACK set. The local cloud stands in for AWS."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from scripts.local_cloud import LocalCloud
from tests.e2e.stack import eventually
from tests.template import ROOT

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def command(local_cloud: LocalCloud) -> Command:
    """Run a script as `make` does with STACK and AWS_REGION set, and with no other variable that names a cloud."""
    environment = local_cloud.environment() | {"STACK": local_cloud.stack()["stackName"]}
    del environment["AWS_DEFAULT_REGION"]

    def run(script: str, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        words = [sys.executable, "-m", f"scripts.{script}", *arguments]
        env = environment | variables
        return subprocess.run(
            words, env=env, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )

    return run


def test_the_examples_are_imported_and_then_smoke_passes(command: Command, stack: dict[str, Any]) -> None:
    """The commands and their order are those of the README."""
    for kind, answer in (("quotas", ["--yes"]), ("subscriptions", [])):
        ran = command("import_file", kind, f"examples/{kind}.json", *answer)
        assert ran.returncode == 0, ran.stderr
        assert stack["apiUrl"] in ran.stdout
    smoke = command("smoke", TEST_USER_ID="user-1", TEST_SUBSCRIPTION_ID="sub-1")
    assert (smoke.returncode, smoke.stderr) == (0, "")
    assert "Smoke test passed" in smoke.stdout
    assert smoke.stdout.count("  pass  ") == 8, smoke.stdout


def test_quotas_are_not_imported_without_an_answer(command: Command) -> None:
    ran = command("import_file", "quotas", "examples/quotas.json")
    assert ran.returncode == 1
    assert "250.00 to the minimum" in ran.stdout
    assert "add --yes, or with make: YES=1" in ran.stderr


def test_smoke_names_the_variables_that_it_needs(command: Command) -> None:
    ran = command("smoke")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "TEST_USER_ID" in ran.stderr
    assert "TEST_SUBSCRIPTION_ID" in ran.stderr
    assert "TEST_AUTH_TOKEN" not in ran.stderr


def test_tokens_are_issued_and_api_keys_are_created_listed_and_revoked(command: Command, stack: dict[str, Any]) -> None:
    def status(headers: dict[str, str]) -> int:
        url = f"{stack['apiUrl']}/api/usage/quotas/business"
        return httpx.get(url, headers=headers, timeout=60, trust_env=False).status_code

    token = command("token", "--user", "operator-1", "--role", "admin")
    assert status({"authorization": f"Bearer {token.stdout.strip()}"}) == 200
    made = command("api_key", "--id", "reports")
    assert made.returncode == 0, made.stderr
    assert "reports" in command("api_key", "--list").stdout.split()
    assert command("api_key", "--revoke", "reports").returncode == 0
    assert "reports" not in command("api_key", "--list").stdout.split()


def test_logs_shows_a_refused_request(command: Command, http: httpx.Client) -> None:
    http.get("/api/usage/user/user-1", headers={"x-api-key": "wrong"})

    def seen() -> bool:
        ran = command("logs", "--once")
        assert ran.returncode == 0, ran.stderr
        return "WARNING get-user-usage     request refused  code=credentials_invalid" in ran.stdout

    eventually(seen)


def test_dead_events_lists_the_dead_events(command: Command) -> None:
    ran = command("dead_events")
    assert (ran.returncode, "dead events" in ran.stdout) == (0, True), ran.stderr


@pytest.mark.parametrize("script", [["token", "--user", "u"], ["api_key", "--list"], ["dead_events"], ["logs"]])
def test_a_command_names_a_stack_that_it_cannot_find(command: Command, script: list[str]) -> None:
    ran = command(*script, STACK="usage-billing-prod")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "usage-billing-prod cannot be described in us-east-1" in ran.stderr


def test_an_api_url_of_another_stack_is_refused(command: Command) -> None:
    ran = command("import_file", "quotas", "examples/quotas.json", API_URL="https://prod.example.com", API_KEY="key")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "API_URL is https://prod.example.com, but the API of usage-billing-local is" in ran.stderr
