"""A local cloud for the tests: the deployed stack over HTTP, and empty accounts for code that runs in this process."""

import gc
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import httpx
import pytest

from scripts.local_cloud import LocalCloud
from tests import cloud
from tests.builders import quota_body
from usage_billing.platform import caches

_accounts = itertools.count(200_000_000_000)

UNCLOSED = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A boto3 client keeps its connections until it is collected, which warns in whichever test is running."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(UNCLOSED)


@pytest.fixture(scope="module", autouse=True)
def collected() -> Iterator[None]:
    """No client of these tests is left for the tests of other folders, where an unclosed connection is an error."""
    yield
    caches.clear_all()
    boto3.DEFAULT_SESSION = None
    gc.collect()


@pytest.fixture(scope="session")
def local_cloud() -> Iterator[LocalCloud]:
    """A cloud on a port of its own with template.yaml deployed. It stops when the tests end.

    It enforces IAM: a call that a function's policy does not allow fails here as it would on AWS.
    """
    running = LocalCloud(".local/test", enforce_iam=True)
    running.stop()
    running.start()
    try:
        running.deploy()
        _allow_batches(running)
        yield running
    finally:
        running.stop()


def _allow_batches(running: LocalCloud) -> None:
    """Allow the batch form of the SQS actions that a role may call.

    On AWS one action covers both forms. MiniStack checks each form under a name of its own.
    """
    iam = running.session.client("iam", endpoint_url=running.url)
    for role in iam.list_roles(MaxItems=1000)["Roles"]:
        for policy in iam.list_role_policies(RoleName=role["RoleName"])["PolicyNames"]:
            name = {"RoleName": role["RoleName"], "PolicyName": policy}
            document = iam.get_role_policy(**name)["PolicyDocument"]
            for statement in document["Statement"]:
                if statement["Action"] in ("sqs:SendMessage", "sqs:ChangeMessageVisibility"):
                    statement["Action"] = [statement["Action"], f"{statement['Action']}Batch"]
            iam.put_role_policy(**name, PolicyDocument=json.dumps(document))


@pytest.fixture(scope="session")
def stack(local_cloud: LocalCloud) -> dict[str, Any]:
    return dict(local_cloud.stack())


@pytest.fixture
def http(stack: dict[str, Any]) -> Iterator[httpx.Client]:
    """A client that calls the deployed API with the API key of an internal service."""
    headers = {"x-api-key": stack["internalApiKey"]}
    with httpx.Client(base_url=stack["apiUrl"], headers=headers, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture
def subscription(http: httpx.Client) -> str:
    """A new subscription of a new user on the plan `business`, which includes 50 assessments per month."""
    assert http.put("/api/usage/quotas/business/assessment", json=quota_body()).status_code == 200
    name = f"sub-{uuid4().hex[:8]}"
    body = {"userId": f"user-of-{name}", "planId": "business"}
    assert http.put(f"/api/subscriptions/{name}", json=body).status_code == 200
    return name


@pytest.fixture
def account(local_cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty account with the stack's tables. The code under test runs in this process against it."""
    number = str(next(_accounts))
    monkeypatch.setenv("AWS_ENDPOINT_URL", local_cloud.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", number)
    where = {"endpoint_url": local_cloud.url, "aws_access_key_id": number, "aws_secret_access_key": "test"}
    for name, value in cloud.create(**where).items():
        monkeypatch.setenv(name, value)
    boto3.DEFAULT_SESSION = None
    caches.clear_all()
    assert os.environ["USAGE_TABLE"]
    return number
