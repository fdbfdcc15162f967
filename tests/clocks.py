"""The clocks of the code under test: the time of day, the time that caches go by, and the age of reads and calls."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from usage_billing.platform import start_times

At = Callable[[str], None]
"""The type of the fixture `at`, which sets the time of day."""


def pass_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Move the monotonic clock forward. Caches expire by it."""
    later = time.monotonic() + seconds
    monkeypatch.setattr(time, "monotonic", lambda: later)


@dataclass
class StartClocks:
    """The two clocks by which reads and calls grow old. They stand still until a test moves them."""

    monotonic: float = 1000.0
    time_of_day: float = 1_800_000_000.0

    def pass_time(self, seconds: float) -> None:
        self.monotonic += seconds
        self.time_of_day += seconds


def stop_start_clocks(monkeypatch: pytest.MonkeyPatch) -> StartClocks:
    clocks = StartClocks()
    fake = SimpleNamespace(monotonic=lambda: clocks.monotonic, time=lambda: clocks.time_of_day)
    monkeypatch.setattr(start_times, "time", fake)
    return clocks
