"""`record_now` returns the outcome of one event, within its time."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.recorder import failures
from tests.recorder.helpers import MakeRecorder, Rejections, fail_spool, memory_and_spool, problem, record
from tests.recorder.service import KEY, Failure, Request, Service, respond
from usage_recorder import BufferFull, NotAcknowledged, UsageRejected
from usage_recorder.spool import Spool

SLOWNESS: list[Callable[[threading.Event], Failure]] = [
    failures.no_response,
    failures.endless_headers,
    failures.endless_body,
]


def test_record_now_returns_the_services_response(service: Service, make: MakeRecorder) -> None:
    recorder = make(linger=60)
    when = datetime(2026, 11, 20, tzinfo=UTC)
    first, again = (
        recorder.record_now("user-1", "sub-1", "report", 2, event_id="e1", occurred_at=when) for _ in range(2)
    )
    assert (first.event_id, first.status, first.record) == ("e1", "recorded", {"eventId": "e1", "sequence": 1})
    assert again.status == "replayed"
    assert recorder.unsent == 0


@pytest.mark.parametrize("failure", failures.TEMPORARY)
def test_when_the_service_fails_twice_record_now_still_succeeds(
    service: Service, make: MakeRecorder, failure: Failure
) -> None:
    service.fail_with(failure, failure)
    acknowledged = make().record_now("user-1", "sub-1", "report", 1)
    assert service.ids == [acknowledged.event_id]


def test_when_the_event_is_rejected_record_now_raises(service: Service, make: MakeRecorder) -> None:
    rejections = Rejections()
    recorder = make(on_rejected=rejections)
    service.judge = lambda _: problem(409, "subscription_inactive")
    with pytest.raises(UsageRejected) as rejected:
        recorder.record_now("user-1", "sub-1", "report", 1, event_id="e1")
    assert rejected.value.problem.code == "subscription_inactive"
    assert rejections == [("e1", "subscription_inactive")]
    assert recorder.unsent == 0


@memory_and_spool
def test_when_record_now_times_out_the_event_is_still_sent(
    service: Service, make: MakeRecorder, tmp_path: Path, spooled: bool
) -> None:
    recorder = make(spool=tmp_path / "spool" if spooled else None)
    service.stop()
    with pytest.raises(NotAcknowledged) as late:
        recorder.record_now("user-1", "sub-1", "report", 1, timeout=0.05)
    assert recorder.unsent == 1
    service.start()
    assert recorder.flush()
    assert service.ids == [late.value.event_id]


def test_an_event_in_record_now_is_not_sent_by_others(service: Service, make: MakeRecorder, tmp_path: Path) -> None:
    recorder = make(spool=tmp_path / "spool")
    arrived, proceed = threading.Event(), threading.Event()

    def slow(request: Request) -> None:
        arrived.set()
        proceed.wait(10)
        respond(request)

    service.fail_with(slow)
    with ThreadPoolExecutor(1) as pool:
        recording = pool.submit(recorder.record_now, "user-1", "sub-1", "report", 1)
        assert arrived.wait(10)
        assert not recorder.flush(0.1)
        proceed.set()
        acknowledged = recording.result()
    assert service.arrivals[acknowledged.event_id] == 1


@pytest.mark.parametrize("slowness", SLOWNESS)
def test_record_now_keeps_to_its_time_however_slow_the_service_is(
    service: Service, make: MakeRecorder, slowness: Callable[[threading.Event], Failure]
) -> None:
    recorder = make()
    enough = threading.Event()
    service.fail_with(slowness(enough))
    began = time.monotonic()
    try:
        with pytest.raises(NotAcknowledged) as late:
            recorder.record_now("user-1", "sub-1", "report", 1, timeout=0.3)
        assert time.monotonic() - began < 1
        assert recorder.flush(5)  # while the slow response still arrives
    finally:
        enough.set()
    assert service.ids == [late.value.event_id]
    assert recorder.unsent == 0


def test_record_now_keeps_to_its_time_however_slow_the_credentials_are(service: Service, make: MakeRecorder) -> None:
    there = threading.Event()

    def token() -> str:
        there.wait(10)
        return KEY

    recorder = make(token=token)
    began = time.monotonic()
    try:
        with pytest.raises(NotAcknowledged, match=r"no response within 0\.2 s") as late:
            recorder.record_now("user-1", "sub-1", "report", 1, timeout=0.2)
        assert time.monotonic() - began < 1
        assert recorder.unsent == 1
    finally:
        there.set()
    assert recorder.flush()
    assert service.ids == [late.value.event_id]


def test_the_wait_for_room_counts_towards_the_timeout(service: Service, make: MakeRecorder) -> None:
    service.stop()
    recorder = make(max_buffered=1, full_timeout=60)
    record(recorder)
    began = time.monotonic()
    with pytest.raises(BufferFull):
        recorder.record_now("user-1", "sub-1", "report", 1, timeout=0.1)
    assert time.monotonic() - began < 1


def test_when_the_spool_fails_after_the_response_the_result_is_kept(
    service: Service,
    make: MakeRecorder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    recorder = make(spool=tmp_path / "spool", linger=60)
    monkeypatch.setattr(Spool, "settle", fail_spool)
    monkeypatch.setattr(Spool, "release", fail_spool)
    monkeypatch.setattr(Spool, "park", fail_spool)
    acknowledged = recorder.record_now("user-1", "sub-1", "report", 1)
    assert service.ids == [acknowledged.event_id]
    service.judge = lambda _: problem(409, "subscription_inactive")
    with pytest.raises(UsageRejected):
        recorder.record_now("user-1", "sub-1", "report", 1)
    service.stop()
    with pytest.raises(NotAcknowledged):
        recorder.record_now("user-1", "sub-1", "report", 1, timeout=0.05)
    assert caplog.text.count("stays in the spool and will be sent again") == 3
