"""Handlers, one at a time, on moto: tables from the template, requests as API Gateway sends them."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache
from typing import Any
from uuid import uuid4

import boto3
import pytest
from moto import mock_aws
from moto.backends import get_backend

from tests import cloud
from tests.api import Api
from usage_billing.billing import runner
from usage_billing.platform import clock
from usage_billing.usage import recording
from usage_billing.usage.dead_events import dead_lettering


@pytest.fixture(scope="module")
def stack() -> Iterator[dict[str, str]]:
    """The functions' environment in a cloud that a module's tests share. Creating one takes longer than most tests."""
    with mock_aws():
        yield cloud.create()


@pytest.fixture(scope="module")
def client(stack: dict[str, str]) -> Callable[[str], Any]:
    """The tests' own clients of that cloud, by service."""
    return cache(boto3.client)


@pytest.fixture
def aws(stack: dict[str, str], client: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cloud. One thread: moto's transactions are not safe under several."""
    for name, value in stack.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(runner, "THREADS", 1)
    monkeypatch.setattr(recording, "THREADS", 1)
    monkeypatch.setattr(dead_lettering, "THREADS", 1)
    for name in [name for name in stack if name.endswith("_QUEUE_URL")]:
        monkeypatch.setenv(name, client("sqs").create_queue(QueueName=str(uuid4()))["QueueUrl"])
    for name, value in cloud.secrets().items():
        client("secretsmanager").put_secret_value(SecretId=name, SecretString=value)
    for regions in get_backend("dynamodb").values():
        for backend in regions.values():
            for table in backend.tables.values():
                table.items.clear()


@pytest.fixture
def api(aws: None) -> Api:
    return Api()


@pytest.fixture
def ready(api: Api) -> Api:
    """The plan `business` includes 50 assessments at 10.00 USD beyond; user-1's subscription sub-1 is on it."""
    api.plan()
    api.subscribe()
    return api


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets the functions' clock: `at("2026-11-20T12:00:00Z")`."""

    def set_clock(text: str) -> None:
        monkeypatch.setattr(clock, "now", lambda: datetime.fromisoformat(text))

    return set_clock


@pytest.fixture
def metrics(capsys: pytest.CaptureFixture[str]) -> "Metrics":
    return Metrics(capsys)


class Metrics:
    """The metrics that were written to the log since the last look, as CloudWatch takes them from there."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self) -> dict[str, float]:
        """The sum of each metric; money as `BilledAmount.USD`, rejections by code as `EventsRejected.forbidden`."""
        found: dict[str, float] = {}
        for line in self._capsys.readouterr().out.splitlines():
            document = json.loads(line) if line.startswith("{") else {}
            for directive in document.get("_aws", {}).get("CloudWatchMetrics", []):
                assert directive["Namespace"] == "UsageBilling"
                assert document["service"] == "usage-billing-test"
                for metric in directive["Metrics"]:
                    [dimensions] = directive["Dimensions"]
                    name = ".".join([metric["Name"], *(document[each] for each in dimensions if each != "service")])
                    values = document[metric["Name"]]
                    found[name] = found.get(name, 0) + sum(values if isinstance(values, list) else [values])
        return found
