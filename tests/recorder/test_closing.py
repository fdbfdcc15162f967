"""Closing a recorder sends its events, reports them, or leaves them in the spool."""

import threading
import time
from pathlib import Path

import pytest

from tests.recorder import failures
from tests.recorder.helpers import SLOW, MakeRecorder, Rejections, memory_and_spool, record
from tests.recorder.service import Service
from usage_recorder import RecorderClosed


def test_at_the_end_of_a_with_statement_all_events_are_sent(service: Service, make: MakeRecorder) -> None:
    with make(linger=60) as recorder:
        ids = record(recorder, 3)
    assert service.ids == ids
    assert recorder.unsent == 0
    with pytest.raises(RecorderClosed):
        record(recorder)
    assert recorder.close()


def test_when_close_runs_out_of_time_unsent_events_are_reported(service: Service, make: MakeRecorder) -> None:
    rejections = Rejections()
    service.stop()
    recorder = make(on_rejected=rejections)
    ids = record(recorder, 2)
    assert not recorder.close(timeout=0.05)
    assert sorted(rejections) == sorted((each, "not_sent") for each in ids)
    assert not recorder.close()


def test_when_close_runs_out_of_time_unsent_events_stay_in_the_spool(
    service: Service, make: MakeRecorder, tmp_path: Path
) -> None:
    rejections = Rejections()
    service.stop()
    first = make(on_rejected=rejections, spool=tmp_path / "spool")
    ids = record(first, 3)
    assert not first.close(timeout=0.05)
    assert first.unsent == 3
    assert rejections == []
    service.start()
    second = make(spool=tmp_path / "spool")
    assert second.flush()
    assert sorted(service.ids) == sorted(ids)


def test_when_a_spool_is_opened_its_events_are_sent(service: Service, make: MakeRecorder, tmp_path: Path) -> None:
    service.stop()
    first = make(spool=tmp_path / "spool")
    record(first)
    first.close(timeout=0)
    arrived = threading.Event()
    service.fail_with(failures.respond_and_set(arrived))
    service.start()
    make(spool=tmp_path / "spool")
    assert arrived.wait(10)


@pytest.mark.usefixtures("no_threads")
@memory_and_spool
def test_when_no_thread_can_be_started_flush_and_close_send(
    service: Service, make: MakeRecorder, tmp_path: Path, spooled: bool
) -> None:
    recorder = make(linger=60, max_batch=2, spool=tmp_path / "spool" if spooled else None)
    service.fail_with(failures.status(503), failures.hang_up)
    ids = record(recorder, 5)
    assert recorder.flush()
    assert sorted(service.ids) == sorted(ids)
    ids += record(recorder, 5)
    ids.append(recorder.record_now("user-1", "sub-1", "report", 1).event_id)
    assert recorder.close()
    assert sorted(service.ids) == sorted(ids)


@pytest.mark.usefixtures("no_threads")
def test_when_no_thread_can_be_started_flush_and_close_keep_to_their_time(service: Service, make: MakeRecorder) -> None:
    service.stop()
    rejections = Rejections()
    recorder = make(pauses=SLOW, on_rejected=rejections)
    [event_id] = record(recorder)
    began = time.monotonic()
    assert not recorder.flush(0.1)
    assert not recorder.close(0.1)
    assert time.monotonic() - began < 2
    assert rejections == [(event_id, "not_sent")]
