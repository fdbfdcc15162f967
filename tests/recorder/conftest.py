"""A service, and recorders that send to it with pauses of milliseconds."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.recorder.service import KEY, Service
from usage_recorder import Pauses, UsageRecorder

QUICK = Pauses(first=0.001, longest=0.01, operator=0.002)
Make = Callable[..., UsageRecorder]


@pytest.fixture
def service() -> Iterator[Service]:
    running = Service()
    yield running
    running.stop()


@pytest.fixture
def make(service: Service) -> Iterator[Make]:
    """Makes recorders, and closes them in the end."""
    made: list[UsageRecorder] = []

    def recorder(**settings: Any) -> UsageRecorder:
        usual = {"linger": 0.01, "pauses": QUICK, "flush_timeout": 10, "full_timeout": 5}
        credentials = {} if "token" in settings else {"api_key": KEY}
        made.append(UsageRecorder(service.url, **(usual | credentials | settings)))
        return made[-1]

    yield recorder
    for each in made:
        each.close(timeout=0)


@pytest.fixture
def recorder(make: Make) -> UsageRecorder:
    return make()
