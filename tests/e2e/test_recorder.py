"""The recorder and the real stack, which stops and comes back without its data."""

import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from scripts.emulator import ROOT
from scripts.local_cloud import LocalCloud
from usage_recorder import NotAcknowledged, Pauses, Problem, UsageEvent, UsageRecorder

NAME = "http://usage.test"
QUANTITY = Decimal("0.1")


@pytest.fixture
def separate_cloud() -> Iterator[LocalCloud]:
    """A local cloud that no other test uses."""
    cloud = LocalCloud(".local/recorder")
    cloud.stop()
    yield cloud
    cloud.stop()


def call(where: httpx.URL, key: str, method: str, path: str, **request: Any) -> Any:
    url = f"{where}{path}"
    response = httpx.request(method, url, headers={"x-api-key": key}, timeout=60, trust_env=False, **request)
    assert response.is_success, response.text
    return response.json()


class Stack:
    """The service under a name that stays the same, while every deployment has another address."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud
        self.where = httpx.URL("http://127.0.0.1:9")
        self.key = ""

    def deploy(self) -> None:
        """Deploy a new stack, and let the name lead there once the subscription exists."""
        self.cloud.start()
        stack = self.cloud.deploy()
        where, key = httpx.URL(stack["apiUrl"]), stack["internalApiKey"]
        quota = {"monthlyLimit": 10, "unitPrice": "1.00", "unitName": "report"}
        subscription = {"userId": "user-1", "planId": "business"}
        call(where, key, "PUT", "/api/usage/quotas/business/report", json=quota)
        call(where, key, "PUT", "/api/subscriptions/sub-1", json=subscription)
        self.where, self.key = where, key

    def subscribe(self, subscription_id: str, user_id: str) -> None:
        subscription = {"userId": user_id, "planId": "business"}
        call(self.where, self.key, "PUT", f"/api/subscriptions/{subscription_id}", json=subscription)

    def read(self, path: str, **query: Any) -> Any:
        return call(self.where, self.key, "GET", f"/api/usage/subscription/{path}", params=query)

    def recorder(self, spool: Path, rejected: list[Any]) -> UsageRecorder:
        def redirect(request: httpx.Request) -> None:
            request.url = httpx.URL(f"{self.where}{request.url.path}")
            request.headers["host"] = request.url.netloc.decode()

        def on_rejected(event: UsageEvent, problem: Problem) -> None:
            rejected.append((event, problem))

        return UsageRecorder(
            NAME,
            api_key=lambda: self.key,
            spool=spool,
            max_batch=40,
            pauses=Pauses(first=0.1, longest=0.5, operator=0.5),
            on_rejected=on_rejected,
            http=lambda: httpx.Client(trust_env=False, event_hooks={"request": [redirect]}),
        )

    def recorded(self) -> list[str]:
        """Return the ids of all entries, in order, and check that they add up to `used`."""
        entries: list[dict[str, Any]] = []
        page: dict[str, Any] = {"nextCursor": None}
        while "nextCursor" in page:
            cursor = {"cursor": page["nextCursor"]} if page["nextCursor"] else {}
            page = self.read("sub-1/records", limit=100, **cursor)
            entries += page["records"]
        [of_type] = self.read("sub-1")["usage"]
        assert Decimal(str(of_type["used"])) == QUANTITY * len(entries)
        assert [entry["sequence"] for entry in entries] == list(range(1, len(entries) + 1))
        return [entry["eventId"] for entry in entries]


def arrived(stack: Stack, number: int) -> list[str]:
    """Return the recorded ids once there are so many: queued events take a moment."""
    deadline = time.monotonic() + 60
    while len(ids := stack.recorded()) < number and time.monotonic() < deadline:
        time.sleep(0.3)
    return sorted(ids)


def record(recorder: UsageRecorder, number: int) -> list[str]:
    return [recorder.record("user-1", "sub-1", "report", QUANTITY) for _ in range(number)]


CODE = """
import os, signal
from usage_recorder import UsageRecorder
recorder = UsageRecorder("http://127.0.0.1:9", api_key="none", spool={spool!r})
for _ in range(25):
    print(recorder.record("user-1", "sub-1", "report", "0.1"), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def record_and_get_killed(spool: Path) -> list[str]:
    """Return the ids that another process accepted into the spool before it was killed."""
    code = CODE.format(spool=str(spool))
    environment = {"PYTHONPATH": str(ROOT / "layers/usage_recorder")}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == -9, ended.stderr
    return ended.stdout.split()


def test_usage_recorded_while_the_stack_is_away_arrives_once(separate_cloud: LocalCloud, tmp_path: Path) -> None:
    stack = Stack(separate_cloud)
    rejected: list[Any] = []
    with stack.recorder(tmp_path / "spool", rejected) as recorder:
        stack.deploy()
        before = record(recorder, 60)
        assert recorder.flush(60)
        now = recorder.record_now("user-1", "sub-1", "report", QUANTITY, timeout=30)
        assert now.record
        assert now.record["quota"]["used"] == Decimal("6.1")
        assert arrived(stack, 61) == sorted([*before, now.event_id])

        separate_cloud.stop()
        away = record(recorder, 130)
        with pytest.raises(NotAcknowledged) as late:
            recorder.record_now("user-1", "sub-1", "report", QUANTITY, timeout=0.2)
        away.append(late.value.event_id)
        away += record_and_get_killed(tmp_path / "spool")
        assert not recorder.flush(0.5)
        assert recorder.unsent == len(away) == 156

        stack.deploy()
        assert recorder.flush(120)
        assert arrived(stack, 156) == sorted(away)
        assert recorder.unsent == 0
        assert rejected == []

        for _ in range(2):  # as a job that is run again
            again = recorder.record_now("user-1", "sub-1", "report", QUANTITY, event_id="job-1", timeout=30)
        assert again.status == "replayed"
        assert arrived(stack, 157) == sorted([*away, "job-1"])

        recorder.record("user-2", "sub-2", "report", 1, event_id="early")
        assert not recorder.flush(60)
        [parked] = recorder.parked()
        assert (parked.event.event_id, parked.problem.code) == ("early", "subscription_not_found")
        assert parked.retry_at
        stack.subscribe("sub-2", "user-2")
        assert recorder.retry_parked() == 1
        assert recorder.flush(60)
        assert [each["eventId"] for each in stack.read("sub-2/records")["records"]] == ["early"]
        assert rejected == []
