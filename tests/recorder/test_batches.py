"""Batches and the buffer have maximum sizes."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.recorder import failures
from tests.recorder.helpers import MakeRecorder, memory_and_spool, record
from tests.recorder.service import Service
from usage_recorder import BufferFull
from usage_recorder.batches import MAX_BODY_BYTES


def test_a_batch_has_at_most_max_batch_events(service: Service, make: MakeRecorder) -> None:
    recorder = make(max_batch=20, linger=30)
    ids = record(recorder, 45)
    assert recorder.flush()
    assert sorted(service.ids) == sorted(ids)
    assert max(service.batches) == 20
    assert sum(service.batches) == 45


def test_a_full_batch_does_not_linger(service: Service, make: MakeRecorder) -> None:
    arrived = threading.Event()
    service.fail_with(failures.respond_and_set(arrived))
    record(make(max_batch=5, linger=60), 5)
    assert arrived.wait(10)


def test_a_body_is_smaller_than_the_service_allows(service: Service, make: MakeRecorder) -> None:
    recorder = make(linger=30)
    record(recorder, 150, metadata={"text": "x" * 7_900})
    assert recorder.flush()
    assert len(service.events) == 150
    assert max(service.sizes) <= MAX_BODY_BYTES


@memory_and_spool
def test_a_full_buffer_refuses_events(service: Service, make: MakeRecorder, tmp_path: Path, spooled: bool) -> None:
    service.stop()
    recorder = make(max_buffered=5, full_timeout=0, spool=tmp_path / "spool" if spooled else None)
    ids = record(recorder, 5)
    for _ in range(3):
        with pytest.raises(BufferFull):
            record(recorder)
    assert recorder.unsent == 5
    service.start()
    assert recorder.flush()
    ids += record(recorder)
    assert recorder.flush()
    assert sorted(service.ids) == sorted(ids)


def test_when_the_buffer_is_full_callers_wait_for_room(service: Service, make: MakeRecorder) -> None:
    recorder = make(max_buffered=3, full_timeout=30)
    with ThreadPoolExecutor(8) as pool:
        ids = [each for found in pool.map(lambda _: record(recorder), range(60)) for each in found]
    assert recorder.flush()
    assert sorted(service.ids) == sorted(ids)
    assert max(service.batches) <= 3


@memory_and_spool
def test_when_many_threads_record_no_event_is_lost(
    service: Service, make: MakeRecorder, tmp_path: Path, spooled: bool
) -> None:
    recorder = make(max_batch=50, spool=tmp_path / "spool" if spooled else None)
    service.fail_with(failures.status(500), failures.record_and_hang_up, failures.status(429, retry_after="0"))
    with ThreadPoolExecutor(8) as pool:
        ids = [each for found in pool.map(lambda _: record(recorder, 25), range(16)) for each in found]
    assert recorder.flush()
    assert sorted(service.ids) == sorted(ids)
    assert len(set(ids)) == 400
