"""The local cloud of a checkout: the data it keeps and deletes, its port, and its status."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from scripts.emulator import _forget_stream_positions
from scripts.local_cloud import LocalCloud
from scripts.progress import Failure
from tests.builders import quota_body
from tests.e2e.stack import aws_client
from tests.template import ROOT

Clouds = Callable[[str], LocalCloud]


@pytest.fixture
def clouds(tmp_path: Path) -> Iterator[Clouds]:
    """Make clouds that keep their data, each like that of another checkout."""
    made: list[LocalCloud] = []

    def cloud(name: str) -> LocalCloud:
        made.append(LocalCloud(tmp_path / name, keeps_data=True))
        return made[-1]

    yield cloud
    for each in made:
        each.stop(fresh=True)


def create_queue(cloud: LocalCloud, name: str) -> None:
    aws_client(cloud, "sqs").create_queue(QueueName=name)


def queues(cloud: LocalCloud) -> list[str]:
    return [url.rpartition("/")[2] for url in aws_client(cloud, "sqs").list_queues().get("QueueUrls", [])]


def kill(cloud: LocalCloud) -> None:
    """Kill the cloud, as if the machine lost power."""
    os.killpg(cloud.state["pid"], signal.SIGKILL)
    assert cloud._child
    cloud._child.wait()


def test_a_restart_keeps_the_stack_its_data_and_its_keys(clouds: Clouds) -> None:
    cloud = clouds("one")
    cloud.start()
    before = cloud.deploy()
    headers = {"x-api-key": before["internalApiKey"]}
    with httpx.Client(base_url=before["apiUrl"], headers=headers, timeout=60, trust_env=False) as api:
        assert api.put("/api/usage/quotas/business/assessment", json=quota_body()).status_code == 200
    cloud.stop()
    with pytest.raises(Failure, match=r"not running\. Start it with: make local"):
        cloud.stack()

    cloud.start()
    log = (cloud.directory / "deploy.log").stat().st_mtime_ns
    assert {**cloud.deploy(), "adminToken": ""} == {**before, "adminToken": ""}
    assert (cloud.directory / "deploy.log").stat().st_mtime_ns == log, "it was deployed again"
    url = f"{before['apiUrl']}/api/usage/quotas/business/assessment"
    assert httpx.get(url, headers=headers, timeout=60, trust_env=False).json()["monthlyLimit"] == 50

    for name in ("infra/tables.yaml", "infra/queues.yaml", "infra/logs.yaml"):
        fixed = cloud.state["fixed"]
        cloud.note(fixed=fixed | {name: "before the change"}, deployed="sources before the change")
        with pytest.raises(Failure, match=rf"(?s)^{name} changed.*make stop FRESH=1"):
            cloud.deploy()
        cloud.note(fixed=fixed)


def test_data_is_kept_until_it_is_deleted(clouds: Clouds) -> None:
    cloud = clouds("one")
    cloud.start()
    port = cloud.state["port"]
    create_queue(cloud, "kept")
    cloud.note(deployed="sources")
    cloud.stop()
    cloud.start()
    assert (queues(cloud), cloud.state["port"], cloud.state["deployed"]) == (["kept"], port, "sources")
    cloud.stop(fresh=True)
    cloud.start()
    assert (queues(cloud), cloud.state["port"], cloud.state.get("deployed")) == ([], port, None)


def test_a_stack_that_a_killed_process_did_not_save_is_deployed_again(clouds: Clouds) -> None:
    cloud = clouds("one")
    cloud.start()
    cloud.stop()
    cloud.start()
    cloud.note(deployed="sources that were not saved")
    kill(cloud)
    cloud.start()
    assert "deployed" not in cloud.state


def test_two_checkouts_run_side_by_side(clouds: Clouds) -> None:
    one, other = clouds("one"), clouds("other")
    for cloud in (one, other):
        cloud.start()
    create_queue(one, "mine")
    assert (queues(one), queues(other)) == (["mine"], [])
    one.stop()
    assert other.is_running()
    one.start()
    assert queues(one) == ["mine"]


def test_start_fails_while_another_process_uses_the_port(clouds: Clouds) -> None:
    cloud = clouds("one")
    cloud.start()
    port = cloud.state["port"]
    cloud.stop()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(Failure, match=rf"Port {port}.*(?s:.*)make stop FRESH=1"):
            cloud.start()
        assert not cloud.is_running()
        cloud.stop(fresh=True)
        cloud.start()
        assert cloud.state["port"] != port


def test_a_cloud_without_kept_data_starts_empty(tmp_path: Path) -> None:
    cloud = LocalCloud(tmp_path)
    try:
        for _ in range(2):
            cloud.start()
            assert queues(cloud) == []
            create_queue(cloud, "gone")
            cloud.stop()
        assert not (tmp_path / "data").exists()
    finally:
        cloud.stop()


def test_a_restored_cloud_reads_streams_from_the_beginning(tmp_path: Path) -> None:
    saved = tmp_path / "lambda.json"
    _forget_stream_positions(saved)
    assert not saved.exists()
    saved.write_text(
        '{"format": 2, "payload": {"functions": {"f": 1}, "dynamodb_stream_positions": {"data": {"m": 7}}}}'
    )
    _forget_stream_positions(saved)
    assert saved.read_text() == '{"format": 2, "payload": {"functions": {"f": 1}, "dynamodb_stream_positions": {}}}'


def test_the_status_of_a_stopped_cloud_is_not_an_error(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scripts.local_cloud", "status", "--dir", str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "not running. Start it with: make local" in ran.stdout


def test_the_status_shows_the_url_and_the_key_for_callers(local_cloud: LocalCloud, stack: dict[str, Any]) -> None:
    command = [sys.executable, "-m", "scripts.local_cloud", "status", "--dir", str(local_cloud.directory)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for line in (
        f"API='{stack['apiUrl']}'",
        f"KEY='{stack['internalApiKey']}'",
        f"{stack['apiUrl']}/docs",
        "make smoke",
    ):
        assert line in ran.stdout
