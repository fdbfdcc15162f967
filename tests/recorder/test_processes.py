"""How processes end, fork and share a spool: what was accepted arrives, once."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.recorder.conftest import Make
from tests.recorder.service import KEY, Service

ROOT = Path(__file__).parents[2]
Spawn = Callable[..., subprocess.Popen[str]]

BEGIN = """
import os, signal, sys, threading, time
sys.path.insert(0, "layers/usage_recorder")
from usage_recorder import Pauses, UsageRecorder, exit_on_sigterm, record_usage

def make(**settings):
    pauses = Pauses(first=0.01, longest=0.05)
    return UsageRecorder(URL, api_key=KEY, **({"pauses": pauses} | settings))

def record(recorder, number=1):
    for _ in range(number):
        print(recorder.record("user-1", "sub-1", "report", 1), flush=True)
"""


@pytest.fixture
def spawn(service: Service, tmp_path: Path) -> Iterator[Spawn]:
    """Runs Python code with `make` and `record` at hand; every id that is accepted is a line of its output."""
    running: list[subprocess.Popen[str]] = []

    def start(code: str, **environment: str) -> subprocess.Popen[str]:
        known = {"URL": service.url, "KEY": KEY, "SPOOL": str(tmp_path / "spool")}
        values = "".join(f"{name} = {value!r}\n" for name, value in known.items())
        process = subprocess.Popen(
            [sys.executable, "-c", values + BEGIN + code],
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


def ended(process: subprocess.Popen[str], code: int = 0) -> list[str]:
    """The process's lines, when it has ended as it should."""
    output, _ = process.communicate(timeout=60)
    assert process.returncode == code
    return output.split()


def first_lines(process: subprocess.Popen[str], number: int) -> list[str]:
    assert process.stdout
    return [process.stdout.readline().strip() for _ in range(number)]


def test_an_exit_sends_everything(service: Service, spawn: Spawn) -> None:
    ids = ended(spawn("record(make(linger=60), 3)"))
    assert service.ids == ids
    assert len(ids) == 3


def test_an_exit_by_an_exception_sends_everything(service: Service, spawn: Spawn) -> None:
    ids = ended(spawn("record(make(linger=60), 3); raise SystemExit(3)"), code=3)
    assert service.ids == ids


def test_sigterm_sends_everything(service: Service, spawn: Spawn) -> None:
    process = spawn("exit_on_sigterm(); record(make(linger=60), 3); time.sleep(60)")
    ids = first_lines(process, 3)
    process.terminate()
    ended(process, code=128 + signal.SIGTERM)
    assert service.ids == ids


def test_an_exit_while_the_service_is_away_leaves_the_spool(
    service: Service, spawn: Spawn, make: Make, tmp_path: Path
) -> None:
    service.stop()
    ids = ended(spawn("record(make(spool=SPOOL, flush_timeout=0.05), 3)"))
    service.start()
    assert make(spool=tmp_path / "spool").flush()
    assert sorted(service.ids) == sorted(ids)


def test_a_spool_survives_kill_9(service: Service, spawn: Spawn, make: Make, tmp_path: Path) -> None:
    """It is killed while it records, sends and settles as fast as it can."""
    ids: list[str] = []
    for _ in range(3):
        process = spawn("""recorder = make(spool=SPOOL, linger=0, request_timeout=0.2)
while True: record(recorder)""")
        ids += first_lines(process, 40)
        process.kill()
        output, _ = process.communicate()
        ids += [line for line in output.split("\n")[:-1] if line]  # what it had said by then
    recorder = make(spool=tmp_path / "spool", request_timeout=0.2)  # claims of the dead end after three of these
    assert recorder.flush(30)
    assert set(service.ids) >= set(ids)
    # It may have been killed between accepting an event and saying so, once each time.
    assert len(set(service.ids) - set(ids)) <= 3
    assert recorder.unsent == 0


def test_parked_events_survive_kill_9(service: Service, spawn: Spawn, make: Make, tmp_path: Path) -> None:
    """It is killed while events are rejected, parked and tried again: then each is recorded or parked, and not both."""
    refusals = [None, {"status": 409, "code": "a", "detail": ""}, {"status": 404, "code": "subscription_not_found"}]
    service.judge = lambda event: refusals[int(event["eventId"], 16) % 3]
    ids: list[str] = []
    for _ in range(3):
        process = spawn("""recorder = make(spool=SPOOL, linger=0, request_timeout=0.2,
    pauses=Pauses(first=0.01, longest=0.05, postponed_first=0.01, postponed_longest=0.02))
while True: record(recorder)""")
        ids += first_lines(process, 60)
        process.kill()
        output, _ = process.communicate()
        ids += [line for line in output.split("\n")[:-1] if line]
    recorder = make(spool=tmp_path / "spool", request_timeout=0.2)
    deadline = time.monotonic() + 30
    while recorder.unsent > len([each for each in recorder.parked() if each.retry_at]) or not service.ids:
        recorder.flush(0.5)
        assert time.monotonic() < deadline
    parked = [each.event.event_id for each in recorder.parked()]
    assert len(parked) == len(set(parked))
    assert not set(parked) & set(service.ids)
    assert {*parked, *service.ids} >= set(ids)
    assert all(refusals[int(each, 16) % 3] for each in parked)
    service.judge = lambda _: None
    assert recorder.retry_parked() == len(parked)
    assert recorder.flush(30)
    assert set(service.ids) >= set(ids)
    assert recorder.parked() == []


def test_processes_may_share_a_spool(service: Service, spawn: Spawn) -> None:
    code = "recorder = make(spool=SPOOL, linger=0, max_batch=7); record(recorder, 60); print(recorder.flush(30))"
    outputs = [ended(process) for process in [spawn(code) for _ in range(3)]]
    assert [output.pop() for output in outputs] == ["True"] * 3
    ids = [each for output in outputs for each in output]
    assert len(set(ids)) == 180
    assert sorted(service.ids) == sorted(ids)
    assert set(service.arrivals.values()) == {1}  # a claim keeps the others off


@pytest.mark.parametrize("spooled", [False, True], ids=["memory", "spool"])
def test_a_forked_process_sends_its_own_and_no_other(service: Service, spawn: Spawn, spooled: bool) -> None:
    settings = "spool=SPOOL, linger=60" if spooled else "linger=60"
    ids = ended(
        spawn(f"""recorder = make({settings})
record(recorder, 2)
child = os.fork()
record(recorder, 2)
if child:
    assert os.waitpid(child, 0)[1] == 0
elif not recorder.close():
    os._exit(1)""")
    )
    assert len(set(ids)) == 6
    assert sorted(service.ids) == sorted(ids)
    assert set(service.arrivals.values()) == {1}


NO_THREADS = """
def start(thread):
    raise RuntimeError("can't create new thread at interpreter shutdown")  # as Python 3.12 does
"""


def test_a_forked_process_that_accepted_nothing_does_not_wait_for_the_others(
    service: Service, spawn: Spawn, make: Make, tmp_path: Path
) -> None:
    service.stop()
    output = ended(
        spawn(f"""{NO_THREADS}
recorder = make(spool=SPOOL, flush_timeout=50)
record(recorder, 2)
if not os.fork():
    threading.Thread.start = start
    sys.exit(0)
began = time.monotonic()
print(os.wait()[1], time.monotonic() - began < 10, flush=True)
os._exit(0)""")
    )
    assert output[2:] == ["0", "True"]
    service.start()
    assert make(spool=tmp_path / "spool", request_timeout=0.2).unsent == 2


def test_a_forked_process_sends_what_it_accepted_when_it_exits(service: Service, spawn: Spawn) -> None:
    ids = ended(
        spawn(f"""{NO_THREADS}
recorder = make(spool=SPOOL, linger=60)
if not os.fork():
    threading.Thread.start = start
    record(recorder, 2)
    sys.exit(0)
os.wait()
os._exit(0)""")
    )
    assert sorted(service.ids) == sorted(ids)
    assert len(ids) == 2


def test_a_recorder_that_cannot_be_closed_keeps_no_other_from_it(service: Service, spawn: Spawn) -> None:
    ids = ended(
        spawn("""recorders = [make(linger=60) for _ in range(6)]
for recorder in recorders[:3]:
    recorder.close = lambda: 1 / 0
for recorder in recorders[3:]:
    record(recorder)""")
    )
    assert sorted(service.ids) == sorted(ids)
    assert len(ids) == 3


# --- record_usage ------------------------------------------------------------------------------

CALL = "print(record_usage('user-1', 'sub-1', 'report', {quantity}, {{'reportId': 'abc123'}}))"


def said(spawn: Spawn, quantity: Any = 1, **environment: str) -> list[str]:
    return ended(spawn(CALL.format(quantity=quantity), **environment))


def test_record_usage_says_that_the_service_has_it(service: Service, spawn: Spawn) -> None:
    assert said(spawn, "0.1", USAGE_API_URL=service.url + "/", INTERNAL_API_KEY=KEY) == ["True"]
    [event] = service.events.values()
    assert json.dumps(event["metadata"]) == '{"reportId": "abc123"}'
    assert str(event["quantity"]) == "0.1"
    assert service.headers[0]["x-api-key"] == KEY


def test_record_usage_with_a_token(service: Service, spawn: Spawn) -> None:
    assert said(spawn, USAGE_API_URL=service.url, USAGE_API_TOKEN=KEY) == ["True"]
    assert service.headers[0]["authorization"] == f"Bearer {KEY}"


def test_record_usage_never_raises(service: Service, spawn: Spawn, tmp_path: Path) -> None:
    somewhere = {"USAGE_API_URL": service.url, "INTERNAL_API_KEY": KEY}
    service.judge = lambda _: {"status": 404, "code": "subscription_not_found", "detail": "none"}
    (tmp_path / "no-spool").write_text("not a database " * 1000)
    wrong: list[tuple[Any, dict[str, str]]] = [
        (1, {}),
        (1, {"USAGE_API_URL": service.url}),
        (1, somewhere | {"USAGE_API_URL": "nowhere"}),
        (1, somewhere | {"USAGE_SPOOL": str(tmp_path / "no-spool")}),
        (-1, somewhere),
        ("object()", somewhere),
        (1, somewhere),
    ]
    processes = [spawn(CALL.format(quantity=quantity), **environment) for quantity, environment in wrong]
    assert [ended(process) for process in processes] == [["False"]] * len(wrong)


def test_record_usage_spools_what_is_not_acknowledged(
    service: Service, spawn: Spawn, make: Make, tmp_path: Path
) -> None:
    service.token = "another key"
    environment = {"USAGE_API_URL": service.url, "INTERNAL_API_KEY": KEY, "USAGE_SPOOL": str(tmp_path / "spool")}
    process = spawn(
        CALL.format(quantity=1) + "; sys.stdout.flush(); os.kill(os.getpid(), signal.SIGKILL)", **environment
    )
    assert ended(process, code=-signal.SIGKILL) == ["False"]
    assert not service.events
    service.token = KEY
    assert make(spool=tmp_path / "spool").flush()
    assert len(service.events) == 1
