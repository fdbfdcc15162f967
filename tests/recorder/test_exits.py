"""When processes end, or share a spool, all accepted events arrive, once."""

import signal
import time
from pathlib import Path

from tests.recorder.helpers import MakeRecorder, parked_ids
from tests.recorder.processes import Spawn, first_lines, output_of
from tests.recorder.service import Service


def test_at_exit_all_events_are_sent(service: Service, spawn: Spawn) -> None:
    ids = output_of(spawn("record(make(linger=60), 3)"))
    assert service.ids == ids
    assert len(ids) == 3


def test_at_an_exit_by_an_exception_all_events_are_sent(service: Service, spawn: Spawn) -> None:
    ids = output_of(spawn("record(make(linger=60), 3); raise SystemExit(3)"), code=3)
    assert service.ids == ids


def test_at_sigterm_all_events_are_sent(service: Service, spawn: Spawn) -> None:
    process = spawn("exit_on_sigterm(); record(make(linger=60), 3); time.sleep(60)")
    ids = first_lines(process, 3)
    process.terminate()
    output_of(process, code=128 + signal.SIGTERM)
    assert service.ids == ids


def test_when_the_service_is_away_at_exit_the_spool_keeps_the_events(
    service: Service, spawn: Spawn, make: MakeRecorder, tmp_path: Path
) -> None:
    service.stop()
    ids = output_of(spawn("record(make(spool=SPOOL, flush_timeout=0.05), 3)"))
    service.start()
    assert make(spool=tmp_path / "spool").flush()
    assert sorted(service.ids) == sorted(ids)


def test_a_spool_survives_kill_9(service: Service, spawn: Spawn, make: MakeRecorder, tmp_path: Path) -> None:
    """Kill the process while it records, sends and settles as fast as it can."""
    ids: list[str] = []
    for _ in range(3):
        process = spawn("""recorder = make(spool=SPOOL, linger=0, request_timeout=0.2)
while True: record(recorder)""")
        ids += first_lines(process, 40)
        process.kill()
        output, _ = process.communicate()
        ids += [line for line in output.split("\n")[:-1] if line]  # printed before it was killed
    recorder = make(spool=tmp_path / "spool", request_timeout=0.2)  # the claims end after three of these
    assert recorder.flush(30)
    assert set(service.ids) >= set(ids)
    # Each time one event may have been accepted whose id was not printed yet.
    assert len(set(service.ids) - set(ids)) <= 3
    assert recorder.unsent == 0


def test_parked_events_survive_kill_9(service: Service, spawn: Spawn, make: MakeRecorder, tmp_path: Path) -> None:
    """Kill the process while it rejects, parks and retries: then each event is either recorded or parked."""
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
    parked = parked_ids(recorder)
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
    outputs = [output_of(process) for process in [spawn(code) for _ in range(3)]]
    assert [output.pop() for output in outputs] == ["True"] * 3
    ids = [each for output in outputs for each in output]
    assert len(set(ids)) == 180
    assert sorted(service.ids) == sorted(ids)
    assert set(service.arrivals.values()) == {1}  # because of the claims


def test_when_one_recorder_cannot_be_closed_the_others_are(service: Service, spawn: Spawn) -> None:
    ids = output_of(
        spawn("""recorders = [make(linger=60) for _ in range(6)]
for recorder in recorders[:3]:
    recorder.close = lambda: 1 / 0
for recorder in recorders[3:]:
    record(recorder)""")
    )
    assert sorted(service.ids) == sorted(ids)
    assert len(ids) == 3
