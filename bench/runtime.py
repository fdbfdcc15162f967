"""Init times and warm calls of the built functions in Lambda's runtime interface emulator.

The emulator is part of the SAM CLI. It starts Lambda's own runtime client, and both report times as on AWS.
"""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from bench import OBSERVED, ROOT, fixtures
from bench.fixtures import Environment, batch_request, record_request

INTERPRETER = ROOT / ".local/lambda/bin/python"
START_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Function:
    """A handler, its folder, and its memory on AWS in MB."""

    handler: str
    folder: Path
    memory: int


@dataclass
class Calls:
    """Measurements of one start: init, first call and warm calls. Times are in milliseconds."""

    init: float = 0
    first: float = 0
    wall: list[float] = field(default_factory=list)
    cpu: float = 0
    """CPU time per warm call of the runtime process, without waiting."""

    log_bytes: float = 0
    """Per warm call: the lines of the function, and three lines of the Lambda platform."""


def measure(
    build: Path, environment: Environment, rounds: int, warm: int, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Measure ours and bare in turns."""
    fixtures.use_account(environment)
    fixtures.subscribe("ours", "batch", "bare")
    ours = Function("record_usage.handler", build / "RecordUsageFunction", 512)
    together = Function("record_batch.handler", build / "RecordBatchFunction", 1769)
    bare = Function("bare_handler.handler", ROOT / "bench/bare_function", 512)
    layers = [build / name / "python" for name in ("DependenciesLayer", "UsageBillingLayer")]
    names = (f"event-{number}" for number in count())

    def started(function: Function, request: Callable[[], Any], calls: int) -> Calls:
        return _started(function, layers, environment, [request() for _ in range(calls + 1)])

    def batch() -> Any:
        return batch_request("batch", [next(names) for _ in range(99)])

    pairs = []
    for number in range(rounds):
        tell(f"Starts and warm calls, round {number + 1} of {rounds}")
        mine = started(ours, lambda: record_request("ours", next(names)), warm)
        theirs = started(bare, lambda: {"event_id": next(names)}, warm)
        pairs.append((mine, theirs))
    tell("Warm batches")
    batches = started(together, batch, max(20, warm // 10))
    first, second = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return {
        "init": _compared(first, second, lambda each: each.init),
        "first_call": _compared(first, second, lambda each: each.first),
        "warm_cpu": _compared(first, second, lambda each: each.cpu),
        "warm_wall": _compared(first, second, lambda each: median(each.wall)),
        "log_bytes": median(each.log_bytes for each in first),
        "memory": ours.memory,
        "batch": {
            "cpu": batches.cpu,
            "wall": median(batches.wall),
            "log_bytes": batches.log_bytes,
            "events": 99,
            "memory": together.memory,
        },
        "how": f"{rounds} starts of each, in turns, {warm} warm calls after each; median milliseconds on this machine",
    }


def _compared(ours: Sequence[Calls], bare: Sequence[Calls], what: Callable[[Calls], float]) -> dict[str, Any]:
    mine, theirs = [what(each) for each in ours], [what(each) for each in bare]
    return {
        "ours_ms": median(mine),
        "bare_ms": median(theirs),
        "ratio": median(mine) / median(theirs),
        "rounds": [[round(one, 2), round(other, 2)] for one, other in zip(mine, theirs, strict=True)],
    }


def _started(function: Function, layers: Sequence[Path], environment: Environment, events: Sequence[Any]) -> Calls:
    with _emulator(function, layers, environment) as (url, process, log), httpx.Client(trust_env=False) as client:

        def invoke(event: Any) -> None:
            response = client.post(url, json=event, timeout=60).json()
            assert response.get("statusCode") in (200, 201), response

        invoke(events[0])
        runtime = _child(process.pid)
        written, began = _logged(log), _cpu_ms(runtime)
        for event in events[1:]:
            invoke(event)
        calls = Calls(cpu=(_cpu_ms(runtime) - began) / (len(events) - 1))
        time.sleep(0.2)  # the last report is written after the response
        text = log.read_text(errors="replace")
        calls.log_bytes = (_logged(log) - written) / (len(events) - 1)
    # Not from the REPORT lines: they include the emulator, and the init time in the first one is wrong.
    [calls.init] = _numbers(r"INIT REPORT\(durationMs: ([\d.]+)\)", text)
    calls.first, *calls.wall = _numbers(r"INVOKE RTDONE\(.*duration: ([\d.]+)ms\)", text)
    return calls


@contextmanager
def _emulator(
    function: Function, layers: Sequence[Path], environment: Environment
) -> Iterator[tuple[str, "subprocess.Popen[bytes]", Path]]:
    """Run the emulator, and yield its URL, process and log. The process group ends with the block."""
    emulator = next((ROOT / ".local/sam/lib").glob("python*/site-packages/samcli/local/rapid/aws-lambda-rie-x86_64"))
    log = ROOT / ".local/bench/runtime.log"
    port, api = _free_ports(2)
    command = [
        *(str(emulator), "--log-level", "info"),
        *("--runtime-interface-emulator-address", f"127.0.0.1:{port}", "--runtime-api-address", f"127.0.0.1:{api}"),
        *(str(INTERPRETER), "-m", "awslambdaric", function.handler),
    ]
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONPATH": os.pathsep.join(map(str, [function.folder, *layers])),
        # As on AWS, where the folder of the code is read-only.
        "PYTHONDONTWRITEBYTECODE": "1",
        "LAMBDA_TASK_ROOT": str(function.folder),
        "AWS_LAMBDA_FUNCTION_NAME": "usage-billing-record-usage",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
        "AWS_LAMBDA_FUNCTION_TIMEOUT": "30",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=function.folder,
            env=variables | environment | OBSERVED,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _wait(port, process)
        yield f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations", process, log
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if process.poll() is None:
                os.killpg(process.pid, number)
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    continue


def _numbers(pattern: str, text: str) -> list[float]:
    return [float(each) for each in re.findall(pattern, text)]


def _free_ports(number: int) -> list[int]:
    probes = [socket.socket() for _ in range(number)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _wait(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 0.5).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"The runtime emulator did not start. See {ROOT / '.local/bench/runtime.log'}")


def _child(parent: int) -> int:
    """Return the pid of the runtime process, which the emulator started."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            return int(stat.parent.name)
    raise RuntimeError("The emulator did not start a runtime process.")


def _cpu_ms(process: int) -> float:
    """Return the CPU time of all threads of a process, including ended ones."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def _logged(log: Path) -> int:
    """Return the bytes that CloudWatch would charge for: 26 per line plus the line, without the emulator's lines."""
    lines = [line for line in log.read_bytes().splitlines() if line and not re.match(rb"\d\d \w{3} \d{4} ", line)]
    return sum(len(line) + 26 for line in lines)
