"""The recorder as its callers see it: what it accepts, how much it holds, how it ends, and recording at once."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.recorder import service as fails
from tests.recorder.calls import FAILURES, SLOW, Rejections, problem, record
from tests.recorder.conftest import Make
from tests.recorder.service import KEY, Failure, Service
from usage_recorder import (
    BufferFull,
    NotAcknowledged,
    RecorderClosed,
    SpoolFailed,
    UsageRecorder,
    UsageRejected,
)
from usage_recorder.batches import MAX_BODY_BYTES
from usage_recorder.spool import Spool

# --- What is sent --------------------------------------------------------------------------------


def test_an_event_arrives_as_it_was_recorded(service: Service, recorder: UsageRecorder) -> None:
    when = datetime(2026, 11, 20, 12, tzinfo=UTC)
    recorder.record("user-1", "sub-1", "report", Decimal("0.1"), {"pages": 3}, event_id="e1", occurred_at=when)
    assert recorder.flush()
    assert service.events["sub-1", "e1"] == {
        "eventId": "e1",
        "userId": "user-1",
        "subscriptionId": "sub-1",
        "usageType": "report",
        "quantity": Decimal("0.1"),
        "occurredAt": "2026-11-20T12:00:00Z",
        "metadata": {"pages": 3},
    }
    assert service.paths == ["/api/usage/batch"]
    assert service.headers[0]["x-api-key"] == KEY
    assert service.headers[0]["content-type"] == "application/json"


def test_id_and_time_are_made_when_it_is_recorded_not_when_it_is_sent(service: Service, make: Make) -> None:
    service.stop()
    recorder = make()
    before = datetime.now(UTC)
    ids = record(recorder, 3)
    after = datetime.now(UTC)
    service.start()
    assert recorder.flush()
    assert service.ids == ids
    assert len(set(ids)) == 3
    for event in service.events.values():
        assert before <= datetime.fromisoformat(event["reportedAt"]) <= after
        assert "occurredAt" not in event


@pytest.mark.parametrize("spooled", [False, True], ids=["memory", "spool"])
def test_a_job_that_is_run_again_records_the_same_event(
    service: Service, make: Make, tmp_path: Path, spooled: bool
) -> None:
    rejections = Rejections()
    recorder = make(on_rejected=rejections, spool=tmp_path / "spool" if spooled else None)
    for _ in range(2):
        record(recorder, event_id="job-1")
        assert recorder.flush()
    again = recorder.record_now("user-1", "sub-1", "report", 1, event_id="job-1")
    assert again.status == "replayed"
    assert service.arrivals["job-1"] == 3
    assert service.ids == ["job-1"]
    assert rejections == []


def test_a_time_of_the_work_is_part_of_the_event(service: Service, make: Make) -> None:
    rejections = Rejections()
    recorder = make(on_rejected=rejections)
    when = datetime(2026, 11, 20, 12, tzinfo=UTC)
    for occurred_at in (when, when, None, when + timedelta(seconds=1)):
        record(recorder, event_id="job-1", occurred_at=occurred_at)
        assert recorder.flush()
    assert service.events["sub-1", "job-1"]["occurredAt"] == "2026-11-20T12:00:00Z"
    assert "reportedAt" not in service.events["sub-1", "job-1"]
    assert rejections == [("job-1", "event_id_conflict")]


@pytest.mark.parametrize("name", ["event_id", "user_id", "subscription_id", "usage_type"])
@pytest.mark.parametrize("wrong", ["", "a b", "x" * 129, "\u00e4", "a\n", 7])
def test_an_id_that_is_none_is_refused_at_once(recorder: UsageRecorder, name: str, wrong: Any) -> None:
    right = {"event_id": "e1", "user_id": "user-1", "subscription_id": "sub-1", "usage_type": "report", "quantity": 1}
    for call in (recorder.record, recorder.record_now):
        with pytest.raises(ValueError, match=f"{name} must be"):
            call(**right | {name: wrong})
    assert recorder.unsent == 0


def test_a_quantity_has_to_be_given(recorder: UsageRecorder) -> None:
    """One that was forgotten must not be billed as 1."""
    for call in (recorder.record, recorder.record_now):
        with pytest.raises(TypeError, match="quantity"):
            call("user-1", "sub-1", "report")  # type: ignore[operator]


def test_metadata_is_sent_as_it_was_when_recorded(service: Service, recorder: UsageRecorder) -> None:
    metadata = {"state": "then"}
    recorder.record("user-1", "sub-1", "report", 1, metadata, event_id="e1")
    metadata["state"] = "now"
    assert recorder.flush()
    assert service.events["sub-1", "e1"]["metadata"] == {"state": "then"}


def test_a_token_may_be_made_anew_for_every_request(service: Service, make: Make) -> None:
    tokens = iter(["stale", "fresh"])
    service.token = "fresh"
    recorder = make(token=lambda: next(tokens))
    record(recorder)
    assert recorder.flush()
    assert [each["authorization"] for each in service.headers] == ["Bearer stale", "Bearer fresh"]


def test_events_go_in_batches_of_at_most_what_is_allowed(service: Service, make: Make) -> None:
    recorder = make(max_batch=20, linger=30)
    ids = record(recorder, 45)
    assert recorder.flush()
    assert sorted(service.ids) == sorted(ids)
    assert max(service.batches) == 20
    assert sum(service.batches) == 45


def test_a_full_batch_does_not_linger(service: Service, make: Make) -> None:
    arrived = threading.Event()
    service.fail_with(lambda request: (fails.answer(request), arrived.set())[0])
    record(make(max_batch=5, linger=60), 5)
    assert arrived.wait(10)


def test_a_body_stays_below_what_the_service_takes(service: Service, make: Make) -> None:
    recorder = make(linger=30)
    record(recorder, 150, metadata={"text": "x" * 7_900})
    assert recorder.flush()
    assert len(service.events) == 150
    assert max(service.sizes) <= MAX_BODY_BYTES


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "service:5003"},
        {"url": "ftp://service"},
        {"api_key": None},
        {"token": "both"},
        {"max_batch": 0},
        {"max_batch": 501},
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        UsageRecorder(**({"url": "http://service", "api_key": KEY} | wrong))


# --- Bounds ----------------------------------------------------------------------------------


@pytest.mark.parametrize("spooled", [False, True], ids=["memory", "spool"])
def test_a_full_buffer_refuses_and_holds_no_more_than_allowed(
    service: Service, make: Make, tmp_path: Path, spooled: bool
) -> None:
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


def test_a_full_buffer_makes_its_callers_wait_for_room(service: Service, make: Make) -> None:
    recorder = make(max_buffered=3, full_timeout=30)
    with ThreadPoolExecutor(8) as pool:
        ids = [each for found in pool.map(lambda _: record(recorder), range(60)) for each in found]
    assert recorder.flush()
    assert sorted(service.ids) == sorted(ids)
    assert max(service.batches) <= 3


@pytest.mark.parametrize("spooled", [False, True], ids=["memory", "spool"])
def test_many_threads_lose_nothing(service: Service, make: Make, tmp_path: Path, spooled: bool) -> None:
    recorder = make(max_batch=50, spool=tmp_path / "spool" if spooled else None)
    service.fail_with(fails.status(500), fails.record_and_hang_up, fails.status(429, retry_after="0"))
    with ThreadPoolExecutor(8) as pool:
        ids = [each for found in pool.map(lambda _: record(recorder, 25), range(16)) for each in found]
    assert recorder.flush()
    assert sorted(service.ids) == sorted(ids)
    assert len(set(ids)) == 400


# --- The end ---------------------------------------------------------------------------------


def test_the_end_of_a_with_sends_everything(service: Service, make: Make) -> None:
    with make(linger=60) as recorder:
        ids = record(recorder, 3)
    assert service.ids == ids
    assert recorder.unsent == 0
    with pytest.raises(RecorderClosed):
        record(recorder)
    assert recorder.close()


def test_what_cannot_be_sent_before_the_end_is_reported(service: Service, make: Make) -> None:
    rejections = Rejections()
    service.stop()
    recorder = make(on_rejected=rejections)
    ids = record(recorder, 2)
    assert not recorder.close(timeout=0.05)
    assert sorted(rejections) == sorted((each, "not_sent") for each in ids)
    assert not recorder.close()


def test_what_cannot_be_sent_before_the_end_waits_in_the_spool(service: Service, make: Make, tmp_path: Path) -> None:
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


def test_a_spool_is_sent_without_a_word_from_anybody(service: Service, make: Make, tmp_path: Path) -> None:
    service.stop()
    first = make(spool=tmp_path / "spool")
    record(first)
    first.close(timeout=0)
    arrived = threading.Event()
    service.fail_with(lambda request: (fails.answer(request), arrived.set())[0])
    service.start()
    make(spool=tmp_path / "spool")
    assert arrived.wait(10)


class Context:
    def __init__(self, milliseconds: int) -> None:
        self.milliseconds = milliseconds

    def get_remaining_time_in_millis(self) -> int:
        return self.milliseconds


def test_a_handler_is_flushed_before_it_answers(service: Service, make: Make) -> None:
    recorder = make(linger=60)

    @recorder.flushing
    def handler(event: dict[str, int], context: Context) -> str:
        """A handler."""
        record(recorder, event["number"])
        if event["number"] == 2:
            raise LookupError
        return "done"

    assert handler({"number": 1}, Context(10_000)) == "done"
    assert len(service.events) == 1
    with pytest.raises(LookupError):
        handler({"number": 2}, Context(10_000))
    assert len(service.events) == 3
    assert handler.__doc__ == "A handler."


def test_a_handler_keeps_time_to_answer(service: Service, make: Make) -> None:
    recorder = make(flush_timeout=600)
    service.stop()

    @recorder.flushing
    def handler(_: object, context: Context) -> str:
        record(recorder)
        return "done"

    assert handler({}, Context(550)) == "done"
    assert recorder.unsent == 1


def test_a_flush_that_fails_changes_nothing_of_what_a_handler_does(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = make(spool=tmp_path / "spool")

    @recorder.flushing
    def handler(divisor: int) -> float:
        record(recorder)
        monkeypatch.setattr(Spool, "last_number", broken)
        return 1 / divisor

    assert handler(1) == 1
    monkeypatch.undo()
    with pytest.raises(ZeroDivisionError):
        handler(0)
    monkeypatch.undo()
    assert caplog.text.count("cannot be flushed at the end of the invocation") == 2


def broken(*_: object) -> NoReturn:
    raise SpoolFailed("the disk is gone")


# --- When no thread can be started: Python exits, or there are too many --------------------------


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    starting = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name.startswith("usage-recorder"):
            raise RuntimeError("can't create new thread at interpreter shutdown")
        starting(thread)

    monkeypatch.setattr(threading.Thread, "start", start)


@pytest.mark.usefixtures("no_threads")
@pytest.mark.parametrize("spooled", [False, True], ids=["memory", "spool"])
def test_whoever_flushes_sends_where_there_is_no_thread(
    service: Service, make: Make, tmp_path: Path, spooled: bool
) -> None:
    recorder = make(linger=60, max_batch=2, spool=tmp_path / "spool" if spooled else None)
    service.fail_with(fails.status(503), fails.hang_up)
    ids = record(recorder, 5)
    assert recorder.flush()
    assert sorted(service.ids) == sorted(ids)
    ids += record(recorder, 5)
    ids.append(recorder.record_now("user-1", "sub-1", "report", 1).event_id)
    assert recorder.close()
    assert sorted(service.ids) == sorted(ids)


@pytest.mark.usefixtures("no_threads")
def test_whoever_flushes_gives_up_in_time_where_there_is_no_thread(service: Service, make: Make) -> None:
    service.stop()
    rejections = Rejections()
    recorder = make(pauses=SLOW, on_rejected=rejections)
    [event_id] = record(recorder)
    began = time.monotonic()
    assert not recorder.flush(0.1)
    assert not recorder.close(0.1)
    assert time.monotonic() - began < 2
    assert rejections == [(event_id, "not_sent")]


# --- Recording now -----------------------------------------------------------------------------


def test_recording_now_answers_what_the_service_said(service: Service, make: Make) -> None:
    recorder = make(linger=60)
    when = datetime(2026, 11, 20, tzinfo=UTC)
    first, again = (
        recorder.record_now("user-1", "sub-1", "report", 2, event_id="e1", occurred_at=when) for _ in range(2)
    )
    assert (first.event_id, first.status, first.record) == ("e1", "recorded", {"eventId": "e1", "sequence": 1})
    assert again.status == "replayed"
    assert recorder.unsent == 0


@pytest.mark.parametrize("failure", range(len(FAILURES)))
def test_recording_now_outlives_what_passes(service: Service, make: Make, failure: int) -> None:
    service.fail_with(FAILURES[failure], FAILURES[failure])
    acknowledged = make().record_now("user-1", "sub-1", "report", 1)
    assert service.ids == [acknowledged.event_id]


def test_recording_now_says_that_it_was_rejected(service: Service, make: Make) -> None:
    rejections = Rejections()
    recorder = make(on_rejected=rejections)
    service.judge = lambda _: problem(409, "subscription_inactive")
    with pytest.raises(UsageRejected) as rejected:
        recorder.record_now("user-1", "sub-1", "report", 1, event_id="e1")
    assert rejected.value.problem.code == "subscription_inactive"
    assert rejections == [("e1", "subscription_inactive")]
    assert recorder.unsent == 0


@pytest.mark.parametrize("spooled", [False, True], ids=["memory", "spool"])
def test_what_was_not_answered_in_time_is_sent_all_the_same(
    service: Service, make: Make, tmp_path: Path, spooled: bool
) -> None:
    recorder = make(spool=tmp_path / "spool" if spooled else None)
    service.stop()
    with pytest.raises(NotAcknowledged) as late:
        recorder.record_now("user-1", "sub-1", "report", 1, timeout=0.05)
    assert recorder.unsent == 1
    service.start()
    assert recorder.flush()
    assert service.ids == [late.value.event_id]


def test_nobody_else_sends_what_is_being_recorded_now(service: Service, make: Make, tmp_path: Path) -> None:
    recorder = make(spool=tmp_path / "spool")
    arrived, go_on = threading.Event(), threading.Event()

    def slow(request: fails.Request) -> None:
        arrived.set()
        go_on.wait(10)
        fails.answer(request)

    service.fail_with(slow)
    with ThreadPoolExecutor(1) as pool:
        recording = pool.submit(recorder.record_now, "user-1", "sub-1", "report", 1)
        assert arrived.wait(10)
        assert not recorder.flush(0.1)
        go_on.set()
        acknowledged = recording.result()
    assert service.arrivals[acknowledged.event_id] == 1


SLOWNESS: list[Callable[[threading.Event], Failure]] = [fails.never, fails.drip_headers, fails.drip_body]


@pytest.mark.parametrize("slowness", SLOWNESS)
def test_recording_now_ends_in_time_however_slow_the_service_is(
    service: Service, make: Make, slowness: Callable[[threading.Event], Failure]
) -> None:
    recorder = make()
    enough = threading.Event()
    service.fail_with(slowness(enough))
    began = time.monotonic()
    try:
        with pytest.raises(NotAcknowledged) as late:
            recorder.record_now("user-1", "sub-1", "report", 1, timeout=0.3)
        assert time.monotonic() - began < 1
        assert recorder.flush(5)  # while that answer is still on its way
    finally:
        enough.set()
    assert service.ids == [late.value.event_id]
    assert recorder.unsent == 0


def test_recording_now_ends_in_time_however_slow_the_credentials_are(service: Service, make: Make) -> None:
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


def test_the_wait_for_room_is_part_of_the_time(service: Service, make: Make) -> None:
    service.stop()
    recorder = make(max_buffered=1, full_timeout=60)
    record(recorder)
    began = time.monotonic()
    with pytest.raises(BufferFull):
        recorder.record_now("user-1", "sub-1", "report", 1, timeout=0.1)
    assert time.monotonic() - began < 1


def test_a_spool_that_fails_after_the_answer_does_not_unsay_it(
    service: Service, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = make(spool=tmp_path / "spool", linger=60)
    monkeypatch.setattr(Spool, "settle", broken)
    monkeypatch.setattr(Spool, "release", broken)
    monkeypatch.setattr(Spool, "park", broken)
    acknowledged = recorder.record_now("user-1", "sub-1", "report", 1)
    assert service.ids == [acknowledged.event_id]
    service.judge = lambda _: problem(409, "subscription_inactive")
    with pytest.raises(UsageRejected):
        recorder.record_now("user-1", "sub-1", "report", 1)
    service.stop()
    with pytest.raises(NotAcknowledged):
        recorder.record_now("user-1", "sub-1", "report", 1, timeout=0.05)
    assert caplog.text.count("stays in the spool and will be sent again") == 3
