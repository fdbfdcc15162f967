"""Rejected events are parked until they are recorded after all, or dropped by a person."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from tests.recorder.helpers import (
    INACTIVE,
    NOT_FOUND,
    PATIENT,
    REPORTED_LONG_AGO,
    MakeRecorder,
    Rejections,
    accept,
    memory_and_spool,
    parked_ids,
    record,
    refuse,
    wait_until,
)
from tests.recorder.service import Service
from usage_recorder import NotAcknowledged, RecorderClosed, SpoolFailed, UsageRejected
from usage_recorder.spool import Spool


@memory_and_spool
def test_a_rejected_event_is_parked_with_the_reason(
    service: Service, make_impatient: MakeRecorder, spooled: bool
) -> None:
    recorder = make_impatient(spooled)
    refuse(service, "bad")
    before = datetime.now(UTC)
    recorder.record("user-1", "sub-1", "report", "2.50", {"a": 1}, event_id="bad")
    record(recorder)
    assert recorder.flush()
    [parked] = recorder.parked()
    assert (parked.event.event_id, parked.event.quantity, parked.event.metadata) == ("bad", Decimal("2.5"), {"a": 1})
    assert str(parked.problem) == "409 subscription_inactive: why"
    assert before <= parked.since <= datetime.now(UTC)
    assert parked.retry_at is None
    assert (recorder.unsent, service.arrivals["bad"]) == (0, 1)


@memory_and_spool
def test_when_the_cause_is_fixed_a_parked_event_is_recorded(
    service: Service, make_impatient: MakeRecorder, spooled: bool
) -> None:
    recorder = make_impatient(spooled)
    refuse(service, "bad", "worse")
    record(recorder, event_id="bad")
    record(recorder, event_id="worse")
    assert recorder.flush()
    when = service.arrivals, [each.event.when for each in recorder.parked()]
    refuse(service, "worse")
    assert recorder.retry_parked() == 2
    assert recorder.flush()
    assert service.ids == ["bad"]
    assert datetime.fromisoformat(service.events["sub-1", "bad"]["reportedAt"]) == when[1][0], "it keeps its time"
    [left] = recorder.parked()
    assert left.event.event_id == "worse"
    assert recorder.drop_parked([left]) == 1
    assert recorder.drop_parked([left]) == 0
    assert recorder.parked() == []
    assert recorder.retry_parked() == 0


@memory_and_spool
def test_when_some_parked_events_are_retried_the_others_stay(
    service: Service, make_impatient: MakeRecorder, spooled: bool
) -> None:
    recorder = make_impatient(spooled)
    refuse(service, "a", "b", "c")
    for event_id in "abc":
        record(recorder, event_id=event_id)
    assert recorder.flush()
    accept(service)
    assert recorder.retry_parked(each for each in recorder.parked() if each.event.event_id != "b") == 2
    assert recorder.flush()
    assert sorted(service.ids) == ["a", "c"]
    assert parked_ids(recorder) == ["b"]


@memory_and_spool
def test_when_a_job_is_refused_many_times_one_event_is_parked(
    service: Service, make_impatient: MakeRecorder, spooled: bool
) -> None:
    recorder = make_impatient(spooled)
    refuse(service, "job-1")
    for _ in range(3):
        with pytest.raises(UsageRejected):
            recorder.record_now("user-1", "sub-1", "report", 1, event_id="job-1")
    with pytest.raises(UsageRejected):
        recorder.record_now("user-1", "sub-1", "report", 2, event_id="job-1")
    assert [each.event.quantity for each in recorder.parked()] == [1, 2]


@memory_and_spool
@pytest.mark.parametrize("because", [INACTIVE, NOT_FOUND], ids=["rejected", "postponed"])
def test_when_a_job_is_run_again_with_success_nothing_stays_parked(
    service: Service, make_impatient: MakeRecorder, spooled: bool, because: dict[str, Any]
) -> None:
    recorder = make_impatient(spooled, pauses=PATIENT)
    refuse(service, "job-1", "job-2", because=because)
    for event_id in ("job-1", "job-2"):
        with pytest.raises((UsageRejected, NotAcknowledged)):
            recorder.record_now("user-1", "sub-1", "report", 1, event_id=event_id)
    accept(service)
    assert recorder.record_now("user-1", "sub-1", "report", 1, event_id="job-1").status == "replayed"
    assert parked_ids(recorder) == ["job-2"]
    record(recorder, event_id="job-2")
    assert recorder.flush()
    assert recorder.parked() == []


@memory_and_spool
def test_a_report_from_too_long_ago_is_retried_with_the_current_time(
    service: Service, make_impatient: MakeRecorder, spooled: bool
) -> None:
    """The clock was not set, or the event was in a spool for a year. It succeeds when a person retries it."""
    rejections = Rejections()
    recorder = make_impatient(spooled, on_rejected=rejections)
    refuse(service, "old", because=REPORTED_LONG_AGO)
    record(recorder, event_id="old")
    assert recorder.flush()
    assert rejections == [("old", "validation_error")]
    [parked] = recorder.parked()
    assert parked.retry_at is None
    accept(service)
    before = datetime.now(UTC)
    assert recorder.retry_parked() == 1
    assert recorder.flush()
    assert before <= datetime.fromisoformat(service.events["sub-1", "old"]["reportedAt"]) <= datetime.now(UTC)
    assert recorder.parked() == []


def test_parked_events_take_no_room_from_others(service: Service, make_impatient: MakeRecorder) -> None:
    recorder = make_impatient(max_buffered=2, full_timeout=0)
    refuse(service, *"abcd", because=NOT_FOUND)
    for event_id in "abcd":
        record(recorder, event_id=event_id)
        recorder.flush()
    assert len(recorder.parked()) == 4
    ids = record(recorder)
    wait_until(lambda: service.ids == ids)


def test_when_memory_discards_parked_events_each_is_reported_once(
    service: Service, make_impatient: MakeRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    rejections = Rejections()
    recorder = make_impatient(max_parked=2, on_rejected=rejections, pauses=PATIENT)
    refuse(service, "first")
    record(recorder, event_id="first")
    assert recorder.flush()
    refuse(service, "second", "third", "fourth", because=NOT_FOUND)
    for event_id in ("second", "third"):
        record(recorder, event_id=event_id)
        recorder.flush()
    wait_until(lambda: "usage event first was discarded" in caplog.text)
    assert rejections == [("first", "subscription_inactive")], "it is reported only once"
    assert parked_ids(recorder) == ["second", "third"]
    record(recorder, event_id="fourth")
    wait_until(lambda: rejections[1:] == [("second", "subscription_not_found")])
    assert "usage event second was discarded" in caplog.text
    assert parked_ids(recorder) == ["third", "fourth"]


def test_a_closed_recorder_has_no_access_to_parked_events(make_impatient: MakeRecorder) -> None:
    recorder = make_impatient()
    recorder.close()
    for call in (recorder.parked, recorder.retry_parked, lambda: recorder.drop_parked([])):
        with pytest.raises(RecorderClosed):
            call()


def test_when_the_spool_cannot_park_an_event_it_is_not_lost(
    service: Service, make_impatient: MakeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    parking_it, attempts = Spool.park, []

    def park(*arguments: Any) -> Any:
        attempts.append(1)
        if len(attempts) < 3:
            raise SpoolFailed("the disk is full")
        return parking_it(*arguments)

    monkeypatch.setattr(Spool, "park", park)
    recorder = make_impatient(True)
    refuse(service, "bad")
    record(recorder, event_id="bad")
    assert recorder.flush()
    assert len(attempts) == 3
    assert parked_ids(recorder) == ["bad"]
