"""Handlers, one at a time, on moto: tables from the template, requests as API Gateway sends them."""

from collections.abc import Iterator

import pytest
from moto import mock_aws

from tests import cloud
from tests.api import Api
from usage_billing import billing


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty cloud. One thread: moto's transactions are not safe under several."""
    with mock_aws():
        for name, value in cloud.create().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(billing, "THREADS", 1)
        yield


@pytest.fixture
def api(aws: None) -> Api:
    return Api()
