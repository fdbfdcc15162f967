"""Fixtures that several unit tests share."""

import pytest

from tests.unit.fake_ledgers import FakeLedgers


@pytest.fixture
def ledgers(monkeypatch: pytest.MonkeyPatch) -> FakeLedgers:
    return FakeLedgers(monkeypatch)
