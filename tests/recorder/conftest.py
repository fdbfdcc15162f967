"""A service on 127.0.0.1, recorders that send to it with pauses of milliseconds, buffers, and other processes."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.recorder.entries import MakeBuffer
from tests.recorder.helpers import IMPATIENT, QUICK, MakeRecorder
from tests.recorder.processes import PREAMBLE, ROOT, Spawn
from tests.recorder.service import KEY, Service
from usage_recorder import UsageRecorder
from usage_recorder.buffers import Buffer
from usage_recorder.memory import MemoryBuffer
from usage_recorder.spool import Spool


@pytest.fixture
def service() -> Iterator[Service]:
    running = Service()
    yield running
    running.stop()


@pytest.fixture
def make(service: Service) -> Iterator[MakeRecorder]:
    """A function that makes recorders, which are closed after the test."""
    made: list[UsageRecorder] = []

    def recorder(**settings: Any) -> UsageRecorder:
        defaults: dict[str, Any] = {"linger": 0.01, "pauses": QUICK, "flush_timeout": 10, "full_timeout": 5}
        credentials = {} if "token" in settings else {"api_key": KEY}
        made.append(UsageRecorder(service.url, **(defaults | credentials | settings)))
        return made[-1]

    yield recorder
    for each in made:
        each.close(timeout=0)


@pytest.fixture
def recorder(make: MakeRecorder) -> UsageRecorder:
    return make()


@pytest.fixture
def make_impatient(make: MakeRecorder, tmp_path: Path) -> MakeRecorder:
    """A function that makes recorders that retry postponed events soon."""

    def recorder(spooled: bool = False, **settings: Any) -> UsageRecorder:
        return make(**{"pauses": IMPATIENT, "spool": tmp_path / "spool" if spooled else None} | settings)

    return recorder


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no recorder start a thread, as while Python exits."""
    original = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name.startswith("usage-recorder"):
            raise RuntimeError("can't create new thread at interpreter shutdown")
        original(thread)

    monkeypatch.setattr(threading.Thread, "start", start)


@pytest.fixture(params=["memory", "spool"])
def make_buffer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeBuffer]:
    """A function that makes a buffer of a given size, in memory or in a file."""
    made: list[Buffer] = []

    def make(max_events: int) -> Buffer:
        made.append(MemoryBuffer(max_events) if request.param == "memory" else Spool(tmp_path / "spool", max_events))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def spawn(service: Service, tmp_path: Path) -> Iterator[Spawn]:
    """A function that runs Python code after `PREAMBLE` in another process, which prints the ids of its events."""
    running: list[subprocess.Popen[str]] = []

    def start(code: str, **environment: str) -> subprocess.Popen[str]:
        known = {"URL": service.url, "KEY": KEY, "SPOOL": str(tmp_path / "spool")}
        values = "".join(f"{name} = {value!r}\n" for name, value in known.items())
        process = subprocess.Popen(
            [sys.executable, "-c", values + PREAMBLE + code],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], **environment},
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()
