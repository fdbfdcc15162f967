"""Reads log records."""

from typing import Any

import pytest


def log_records(caplog: pytest.LogCaptureFixture, message: str) -> list[dict[str, Any]]:
    """The fields of each record with this message."""
    return [vars(record) for record in caplog.records if record.getMessage() == message]
