"""`python -m usage_recorder`: list, retry and drop parked events."""

import json
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.recorder.helpers import PATIENT, REPORTED_LONG_AGO, MakeRecorder, parked_ids, problem, record
from tests.recorder.service import Service
from usage_recorder import UsageRecorder
from usage_recorder.__main__ import main


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "usage.spool"


@pytest.fixture
def recorder(make: MakeRecorder, service: Service, spool: Path) -> UsageRecorder:
    """A recorder with two parked events in its spool: `conflict`, and `early`, which is retried automatically."""
    recorder = make(spool=spool, pauses=PATIENT)
    refusals = {"conflict": problem(409, "event_id_conflict"), "early": problem(404, "subscription_not_found")}
    service.judge = lambda event: refusals.get(event["eventId"])
    recorder.record("user-1", "sub-1", "report", "2.5", {"page": 1}, event_id="conflict")
    recorder.record("user-2", "sub-2", "minute", 7, event_id="early")
    recorder.flush()
    return recorder


def run(*arguments: object) -> int:
    return main(["parked", *map(str, arguments)])


@pytest.mark.usefixtures("recorder")
def test_list_shows_each_event_with_the_reason_and_the_next_retry(
    spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("list", "--spool", spool) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("conflict  sub-1  2.5 report  20")
    assert lines[1].endswith(" UTC, no automatic retry: 409 event_id_conflict: why")
    assert lines[2].startswith("early  sub-2  7 minute  20")
    assert " UTC, next retry 20" in lines[3]
    assert lines[3].endswith(" UTC: 404 subscription_not_found: why")
    assert lines[4] == f"2 events parked in {spool}."
    assert run("list", "--spool", spool, "--subscription", "sub-2") == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"1 event parked in {spool}."


@pytest.mark.usefixtures("recorder")
def test_list_can_print_json(spool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", "--spool", spool, "--json") == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["event"]["eventId"], first["event"]["metadata"]) == ("conflict", {"page": 1})
    assert (first["problem"]["code"], first["retryAt"]) == ("event_id_conflict", None)
    assert second["retryAt"] > second["since"]


def test_in_an_empty_spool_nothing_is_parked(
    make: MakeRecorder, spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(spool=spool)
    assert run("list", "--spool", spool) == 0
    assert capsys.readouterr().out == f"0 events parked in {spool}.\n"
    assert run("list", "--spool", spool, "--json") == 0
    assert capsys.readouterr().out == ""
    assert run("retry", "--spool", spool, "--all") == 0
    assert capsys.readouterr().out == f"0 events will be sent again by the recorder that uses {spool}.\n"


def test_a_running_recorder_sends_events_that_retry_unparks(
    recorder: UsageRecorder, service: Service, spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service.judge = lambda _: None
    assert run("retry", "--spool", spool, "early") == 0
    assert capsys.readouterr().out == f"1 event will be sent again by the recorder that uses {spool}.\n"
    deadline = time.monotonic() + 10
    while service.ids != ["early"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert parked_ids(recorder) == ["conflict"]
    assert run("retry", "--spool", spool, "--all", "--subscription", "sub-1") == 0
    assert recorder.flush()
    assert service.ids == ["early", "conflict"]


def test_retry_sends_a_report_refused_as_too_old_with_the_current_time(
    make: MakeRecorder, service: Service, spool: Path
) -> None:
    service.judge = lambda _: REPORTED_LONG_AGO
    recorder = make(spool=spool, pauses=PATIENT)
    recorder.record("user-1", "sub-1", "report", 1, event_id="old")
    assert recorder.flush()
    service.judge = lambda _: None
    before = datetime.now(UTC)
    assert run("retry", "--spool", spool, "old") == 0
    assert recorder.flush()
    assert before <= datetime.fromisoformat(service.events["sub-1", "old"]["reportedAt"])


def test_drop_prints_the_events_that_it_deletes(
    recorder: UsageRecorder, spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("drop", "--spool", spool, "conflict") == 0
    shown, said = capsys.readouterr().out.splitlines()
    assert json.loads(shown)["event"]["quantity"] == 2.5
    assert said == f"1 event dropped from {spool}."
    assert parked_ids(recorder) == ["early"]
    assert run("drop", "--spool", spool, "--all") == 0
    assert parked_ids(recorder) == []


@pytest.mark.parametrize("command", ["retry", "drop"])
def test_when_one_of_the_events_is_not_parked_nothing_changes(
    recorder: UsageRecorder, spool: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert run(command, "--spool", spool, "conflict", "unheard-of", "other") == 1
    assert run(command, "--spool", spool, "early", "--subscription", "sub-1") == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines() == [
        "usage_recorder: not parked: other, unheard-of; nothing was changed",
        "usage_recorder: not parked: early; nothing was changed",
    ]
    assert parked_ids(recorder) == ["conflict", "early"]


def test_when_the_file_is_not_a_spool_it_stays_unchanged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", "--spool", tmp_path / "missing") == 1
    assert capsys.readouterr().err == f"usage_recorder: there is no spool at {tmp_path / 'missing'}\n"
    (tmp_path / "text").write_text("not a database, but long enough to be looked at as if it were one" * 20)
    assert run("list", "--spool", tmp_path / "text") == 1
    assert "cannot be opened" in capsys.readouterr().err
    others = sqlite3.connect(tmp_path / "orders")
    others.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
    others.close()
    before = (tmp_path / "orders").read_bytes()
    for command in (["list"], ["retry", "--all"], ["drop", "--all"]):
        assert run(*command, "--spool", tmp_path / "orders") == 1
        assert capsys.readouterr().err == f"usage_recorder: {tmp_path / 'orders'} is not a spool\n"
    assert (tmp_path / "orders").read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["orders", "text"]


@pytest.mark.parametrize("arguments", [[], ["list"], ["retry", "--spool", "x"], ["drop", "--spool", "x", "a", "--all"]])
def test_an_invalid_command_prints_the_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    assert ended.value.code == 2
    assert "usage: python -m usage_recorder parked" in capsys.readouterr().err


def test_the_program_works_while_another_process_uses_the_spool(
    recorder: UsageRecorder, service: Service, spool: Path
) -> None:
    def program(*arguments: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "usage_recorder", "parked", *arguments, "--spool", str(spool)],
            capture_output=True,
            text=True,
            env={"PYTHONPATH": str(Path(__file__).parents[2] / "layers/usage_recorder")},
            check=True,
        )

    assert program("list").stdout.endswith(f"2 events parked in {spool}.\n")
    service.judge = lambda _: None
    program("retry", "--all")
    ids = record(recorder)
    assert recorder.flush()
    assert sorted(service.ids) == sorted(["conflict", "early", *ids])
