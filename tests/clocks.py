"""The clocks of the code under test: the time of day, and the time that caches go by."""

import time
from collections.abc import Callable

import pytest

At = Callable[[str], None]
"""The type of the fixture `at`, which sets the time of day."""


def pass_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Move the monotonic clock forward. Caches expire by it."""
    later = time.monotonic() + seconds
    monkeypatch.setattr(time, "monotonic", lambda: later)
