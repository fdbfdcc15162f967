"""MiniStack, the process that emulates AWS on this machine. It listens on 127.0.0.1 only."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import zlib
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import boto3
import botocore.session
import httpx

from scripts.progress import Failure, step, tail

ROOT = Path(__file__).resolve().parent.parent
REGION = "us-east-1"
ACCOUNT = "000000000000"
PORTS = range(20_000, 30_000)
"""Below the ports of outgoing connections, so that the port is likely to be free at the next start."""
START_SECONDS = 30
STOP_SECONDS = 20
"""Maximum time to save the data and exit."""
NO_PROFILES = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}


class Emulator:
    """A MiniStack process and the directory with its pid, port and log.

    The process inherits a locked file. While the lock is held, the recorded pid is that of the process started here.
    So `stop` cannot end any other process that happens to have this pid.

    With `keeps_data` it has the same port and the same data when it is started again. Otherwise it starts empty.
    """

    def __init__(
        self, directory: Path | str = ".local", *, enforce_iam: bool = False, keeps_data: bool = False
    ) -> None:
        self.directory = (ROOT / directory).resolve()
        self.log = self.directory / "cloud.log"
        self.stack_file = self.directory / "stack.json"
        self._enforce_iam = enforce_iam
        self._keeps_data = keeps_data
        self._lock_file = self.directory / "cloud.lock"
        self._state_file = self.directory / "cloud.json"
        self._scratch = self.directory / "tmp"
        self._data = self.directory / "data"
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.state['port']}"

    @property
    def state(self) -> dict[str, Any]:
        """The recorded state: pid, port, and the fingerprints of what is deployed."""
        try:
            state: dict[str, Any] = json.loads(self._state_file.read_text())
        except FileNotFoundError:
            raise Failure("The local cloud is not running. Start it with: make local") from None
        return state

    def note(self, **values: object) -> None:
        self._state_file.write_text(json.dumps({**self.state, **values}))

    def is_running(self) -> bool:
        lock = self._try_lock()
        if lock is None:
            return True
        lock.close()
        return False

    def start(self) -> None:
        """Start the process unless it is running, and wait until it responds."""
        lock = self._try_lock()
        if lock is None:
            self._wait_until_healthy()
            print(f"  The local cloud is running at {self.url}", flush=True)
            return
        with step("Starting the local cloud"), lock:
            self._spawn(lock)
            self._wait_until_healthy()

    def stop(self, *, fresh: bool = False) -> None:
        """Stop the process and its workers if it is running. With `fresh`, also delete its data."""
        if self.is_running():
            with step("Stopping the local cloud"):
                saved = self._end(self.state["pid"])
            self.note(saved=saved)
        else:
            print("  The local cloud is not running", flush=True)
        shutil.rmtree(self._scratch, ignore_errors=True)
        if fresh or not self._keeps_data:
            self._forget()

    def environment(self) -> dict[str, str]:
        """Environment variables for a tool, with which it can reach this cloud but no other."""
        return _user_environment() | {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.url,
            **NO_PROFILES,
            "AWS_EC2_METADATA_DISABLED": "true",
            "SAM_CLI_TELEMETRY": "0",
        }

    @cached_property
    def session(self) -> boto3.Session:
        """A session that ignores the user's AWS profiles. Its clients need `endpoint_url=url`."""
        nothing = (None, None, None, None)
        settings = {"profile": nothing, "config_file": nothing, "credentials_file": nothing}
        session = botocore.session.Session(session_vars=settings)
        return boto3.Session("test", "test", region_name=REGION, botocore_session=session)

    def _try_lock(self) -> IO[bytes] | None:
        """Lock the file and return it open, or return None if the process holds the lock."""
        self.directory.mkdir(parents=True, exist_ok=True)
        lock = self._lock_file.open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return None
        return lock

    def _spawn(self, lock: IO[bytes]) -> None:
        if not self._keeps_data:
            self._forget()
        kept = self._kept()
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir()
        port = self._port(kept) if self._keeps_data else _free_port(0)
        environment = _lambda_environment() | {
            **NO_PROFILES,
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "LAMBDA_EXECUTOR": "local",
            "AUTH": "true" if self._enforce_iam else "false",
            # Workers unpack layers into it. It is deleted when the cloud stops.
            "TMPDIR": str(self._scratch),
            "PERSIST_STATE": "1" if self._keeps_data else "0",
            "STATE_DIR": str(self._data),
        }
        program = ROOT / ".local/ministack/bin/ministack"
        if not program.exists():
            raise Failure("MiniStack is not installed. Install it with: make setup")
        with self.log.open("wb") as log:
            self._child = subprocess.Popen(
                [program],
                env=environment,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=[lock.fileno()],
            )
        self._state_file.write_text(json.dumps({**kept, "pid": self._child.pid, "port": port}))

    def _port(self, kept: dict[str, Any]) -> int:
        """Return the previous port, else one derived from the directory, so that checkouts do not collide.

        Raises:
            Failure: another process uses the port, and the data contains it in the URLs of queues and nested stacks.
        """
        own = PORTS[zlib.crc32(bytes(self.directory)) % len(PORTS)]
        wanted = kept.get("port", own)
        port = _free_port(wanted)
        if port != wanted and self._data.exists():
            raise Failure(
                f"Port {wanted} of the local cloud is in use by another process.\n"
                "Stop that process, or delete the data and start on another port: make stop FRESH=1 && make local"
            )
        return port

    def _kept(self) -> dict[str, Any]:
        """Return the recorded state that is still valid. MiniStack saves its data on exit, so killing it loses data."""
        if not self._state_file.exists():
            return {}
        kept = {name: value for name, value in self.state.items() if name not in ("pid", "saved")}
        if not self.state.get("saved"):
            kept.pop("deployed", None)
        _forget_stream_positions(self._data / "lambda.json")
        return kept

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._is_healthy():
            if self._child and self._child.poll() is not None:
                raise Failure(f"The local cloud exited while it was starting.\n{tail(self.log)}")
            if time.monotonic() > deadline:
                raise Failure(f"The local cloud did not respond within {START_SECONDS} s.\n{tail(self.log)}")
            time.sleep(0.1)

    def _is_healthy(self) -> bool:
        try:
            return httpx.get(f"{self.url}/_ministack/health", timeout=2, trust_env=False).is_success
        except (httpx.HTTPError, Failure):
            return False

    def _end(self, group: int) -> bool:
        """Stop the process group with SIGTERM, else with SIGKILL. Return True if SIGTERM was enough."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            _signal_group(group, number)
            deadline = time.monotonic() + STOP_SECONDS
            while self._group_exists(group):
                if time.monotonic() > deadline:
                    break
                time.sleep(0.05)
            else:
                return number == signal.SIGTERM
        if self.is_running():
            raise Failure(f"Process group {group} does not stop.")
        return False

    def _group_exists(self, group: int) -> bool:
        if self._child:
            self._child.poll()  # until its exit code is read, the process stays in the process table
        return _signal_group(group, 0)

    def _forget(self) -> None:
        for file in (self._state_file, self.stack_file):
            file.unlink(missing_ok=True)
        for folder in (self._scratch, self._data):
            shutil.rmtree(folder, ignore_errors=True)


def _forget_stream_positions(saved: Path) -> None:
    """Reset saved stream positions. MiniStack saves them without the records, and would skip as many new records."""
    if saved.exists():
        content = json.loads(saved.read_text())
        content.get("payload", content)["dynamodb_stream_positions"] = {}
        saved.write_text(json.dumps(content))


def _user_environment() -> dict[str, str]:
    """The user's environment without AWS and Python settings. Paths, proxies and pip's configuration stay."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTHON"))}


def _lambda_environment() -> dict[str, str]:
    """Environment variables of the process. Workers inherit them, so they are few, as in Lambda."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return inherited | {"LANG": "C.UTF-8", "TZ": "UTC"}


def _free_port(wanted: int) -> int:
    """Return `wanted` if that port is free, else any free port."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise Failure("There is no free port on 127.0.0.1.")


def _signal_group(group: int, number: int) -> bool:
    """Signal a process group. Return False if it does not exist."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True
