"""`python -m usage_recorder`: parked events are listed, sent again and dropped from a shell."""

import json
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.recorder.calls import problem, record
from tests.recorder.conftest import Make
from tests.recorder.service import Service
from usage_recorder import Pauses, UsageRecorder
from usage_recorder.__main__ import main

PATIENT = Pauses(first=0.001, longest=0.01, postponed_first=600)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "usage.spool"


@pytest.fixture
def recorder(make: Make, service: Service, spool: Path) -> UsageRecorder:
    """In its spool `conflict` and `early` are parked, the second to be sent again by itself."""
    recorder = make(spool=spool, pauses=PATIENT)
    refusals = {"conflict": problem(409, "event_id_conflict"), "early": problem(404, "subscription_not_found")}
    service.judge = lambda event: refusals.get(event["eventId"])
    recorder.record("user-1", "sub-1", "report", "2.5", {"page": 1}, event_id="conflict")
    recorder.record("user-2", "sub-2", "minute", 7, event_id="early")
    recorder.flush()
    return recorder


def run(*arguments: object) -> int:
    return main(["parked", *map(str, arguments)])


def parked(recorder: UsageRecorder) -> list[str]:
    return [each.event.event_id for each in recorder.parked()]


@pytest.mark.usefixtures("recorder")
def test_a_list_says_what_was_refused_why_and_what_happens_next(
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
def test_a_list_can_be_read_by_programs(spool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", "--spool", spool, "--json") == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["event"]["eventId"], first["event"]["metadata"]) == ("conflict", {"page": 1})
    assert (first["problem"]["code"], first["retryAt"]) == ("event_id_conflict", None)
    assert second["retryAt"] > second["since"]


def test_an_empty_spool_has_nothing_parked(make: Make, spool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(spool=spool)
    assert run("list", "--spool", spool) == 0
    assert capsys.readouterr().out == f"0 events parked in {spool}.\n"
    assert run("list", "--spool", spool, "--json") == 0
    assert capsys.readouterr().out == ""
    assert run("retry", "--spool", spool, "--all") == 0
    assert capsys.readouterr().out == f"0 events will be sent again by the recorder that uses {spool}.\n"


def test_a_running_recorder_sends_what_is_to_be_tried_again(
    recorder: UsageRecorder, service: Service, spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service.judge = lambda _: None
    assert run("retry", "--spool", spool, "early") == 0
    assert capsys.readouterr().out == f"1 event will be sent again by the recorder that uses {spool}.\n"
    deadline = time.monotonic() + 10
    while service.ids != ["early"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert parked(recorder) == ["conflict"]
    assert run("retry", "--spool", spool, "--all", "--subscription", "sub-1") == 0
    assert recorder.flush()
    assert service.ids == ["early", "conflict"]


def test_a_report_refused_as_too_old_is_sent_again_as_one_of_today(make: Make, service: Service, spool: Path) -> None:
    errors = [{"field": "reportedAt", "code": "out_of_range", "message": "m"}]
    service.judge = lambda _: problem(422, "validation_error") | {"errors": errors}
    recorder = make(spool=spool, pauses=PATIENT)
    recorder.record("user-1", "sub-1", "report", 1, event_id="old")
    assert recorder.flush()
    service.judge = lambda _: None
    before = datetime.now(UTC)
    assert run("retry", "--spool", spool, "old") == 0
    assert recorder.flush()
    assert before <= datetime.fromisoformat(service.events["sub-1", "old"]["reportedAt"])


def test_dropped_events_are_shown_once_more(
    recorder: UsageRecorder, spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("drop", "--spool", spool, "conflict") == 0
    shown, said = capsys.readouterr().out.splitlines()
    assert json.loads(shown)["event"]["quantity"] == 2.5
    assert said == f"1 event dropped from {spool}."
    assert parked(recorder) == ["early"]
    assert run("drop", "--spool", spool, "--all") == 0
    assert parked(recorder) == []


@pytest.mark.parametrize("command", ["retry", "drop"])
def test_nothing_is_changed_if_one_of_the_events_is_not_parked(
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
    assert parked(recorder) == ["conflict", "early"]


def test_a_spool_that_is_none_is_not_made_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
def test_a_command_that_is_none_is_explained(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    assert ended.value.code == 2
    assert "usage: python -m usage_recorder parked" in capsys.readouterr().err


def test_it_runs_as_a_program_beside_a_recorder_in_another_process(
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
