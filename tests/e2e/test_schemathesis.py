"""The deployed API against its own OpenAPI document, with all checks of Schemathesis.

It sends thousands of valid and invalid requests, alone and in sequences. No response may be a 5xx or have an
undeclared status, header or schema. Valid requests must be accepted, invalid ones refused, and all must need
credentials.
"""

import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from scripts.credentials import signed
from tests.template import ROOT
from usage_billing.apidocs.examples import BODIES, IDS

SECONDS = 90
FOR_ADMINS_ONLY = "/dead-events"


@pytest.fixture(scope="module")
def examples_exist(stack: dict[str, Any]) -> None:
    """The resources that the examples name: a plan, a subscription, an invoice with overage, and a dead event."""
    plan, kind, subscription = IDS["planId"], IDS["usageType"], IDS["subscriptionId"]
    key = {"x-api-key": stack["internalApiKey"]}
    with httpx.Client(base_url=stack["apiUrl"], headers=key, timeout=60, trust_env=False) as http:

        def send(method: str, path: str, body: dict[str, Any], **headers: str) -> None:
            http.request(method, path, json=body, headers=headers).raise_for_status()

        send("PUT", f"/api/usage/quotas/{plan}/{kind}", BODIES["QuotaTerms"])
        send("PUT", f"/api/subscriptions/{subscription}", BODIES["SubscriptionTerms"])
        for number in range(5):
            send("POST", "/api/usage/record", BODIES["ReportedUsage"] | {"eventId": f"stock-{number}"})
        send("POST", "/api/usage/process-billing", {"subscriptionId": subscription})
        conflict = BODIES["ReportedUsage"] | {"eventId": "stock-0", "quantity": 99}
        send("POST", "/api/usage/record", conflict, prefer="respond-async")


def schemathesis(stack: dict[str, Any], folder: Path, header: str, *arguments: str) -> str:
    """Run Schemathesis and return its output. Fail if it finds anything or does not test every operation."""
    url = stack["apiUrl"]
    run = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--url", url, "--header", header),
            *("--checks", "all", "--seed", "1", "--generation-database", "none", "--continue-on-failure"),
            *("--request-timeout", "30", "--no-color", *arguments),
        ],
        cwd=folder,
        env=os.environ | {"SCHEMATHESIS_HOOKS": "tests.e2e.schemathesis_hooks", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=3 * SECONDS,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    selected, tested = re.findall(r"(?:Selected|Tested): (\d+)", run.stdout)
    assert selected == tested
    return run.stdout


@pytest.mark.usefixtures("examples_exist")
def test_the_api_keeps_its_contract_with_a_service(stack: dict[str, Any], tmp_path: Path) -> None:
    key = f"x-api-key: {stack['internalApiKey']}"
    output = schemathesis(stack, tmp_path, key, "--max-examples", "12", "--exclude-path-regex", FOR_ADMINS_ONLY)
    assert all(phase in output for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"))
    assert "skipped" not in output.split("API Operations")[1].split("Test cases")[0]


@pytest.mark.usefixtures("examples_exist")
def test_the_api_keeps_its_contract_with_a_user(stack: dict[str, Any], tmp_path: Path) -> None:
    token = signed(stack["jwt"], IDS["userId"], "user", timedelta(hours=1))
    schemathesis(
        stack,
        tmp_path,
        f"Authorization: Bearer {token}",
        "--max-examples",
        "4",
        "--phases",
        "examples,coverage,fuzzing",
    )


@pytest.mark.usefixtures("examples_exist")
def test_the_api_keeps_its_contract_with_an_administrator(stack: dict[str, Any], tmp_path: Path) -> None:
    """The endpoints that accept no API key."""
    token = f"Authorization: Bearer {stack['adminToken']}"
    schemathesis(stack, tmp_path, token, "--max-examples", "12", "--include-path-regex", FOR_ADMINS_ONLY)
