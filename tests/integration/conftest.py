"""Fixtures that run the handlers in this process, on moto, with the tables of the deployed template."""

import io
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
from tests.clocks import At
from tests.metrics import Metrics
from tests.runs import LEDGERS
from usage_billing.billing import runner
from usage_billing.platform import caches, clock, observability, retries
from usage_billing.usage import recording
from usage_billing.usage.dead_events import dead_lettering


@pytest.fixture(scope="module")
def stack() -> Iterator[dict[str, str]]:
    """The functions' environment variables, in a cloud shared by the tests of a module: it is slow to create."""
    with mock_aws():
        yield cloud.create()


@pytest.fixture(scope="module")
def client(stack: dict[str, str]) -> Callable[[str], Any]:
    """The tests' own clients for that cloud, by service."""
    return cache(boto3.client)


@pytest.fixture
def aws(stack: dict[str, str], client: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty the cloud, and let the code under test use one thread: moto's transactions are not thread-safe."""
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
    """user-1's subscription sub-1, on the plan `business`: 50 assessments included, then 10.00 USD each."""
    api.plan()
    api.subscribe()
    return api


@pytest.fixture
def open_api(ready: Api, monkeypatch: pytest.MonkeyPatch) -> Api:
    """The same as `ready`, in a deployment whose customers may record their own usage."""
    monkeypatch.setenv("CUSTOMERS_MAY_RECORD", "true")
    caches.clear_all()
    return ready


@pytest.fixture
def many_ledgers(ready: Api, monkeypatch: pytest.MonkeyPatch) -> Api:
    """Ledgers to settle, one per subscription. An invocation that has no time settles two of them."""
    monkeypatch.setattr(runner, "IN_FLIGHT", 2)
    for number in range(LEDGERS):
        ready.subscribe(f"sub-{number}")
        ready.record(f"e{number}", 51, subscriptionId=f"sub-{number}")
    return ready


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry without pauses."""
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0)


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> At:
    """Set the time of day: `at("2026-11-20T12:00:00Z")`."""

    def set_clock(text: str) -> None:
        monkeypatch.setattr(clock, "now", lambda: datetime.fromisoformat(text))

    return set_clock


@pytest.fixture
def metrics(capsys: pytest.CaptureFixture[str]) -> Metrics:
    return Metrics(capsys)


@pytest.fixture
def log_output(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """The lines of the log, as CloudWatch gets them."""
    written = io.StringIO()
    monkeypatch.setattr(observability.logger.registered_handler, "stream", written)
    return written
