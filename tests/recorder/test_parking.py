"""What the service refuses is kept: sent again by itself where time may mend it, else until a person decides."""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.recorder import service as fails
from tests.recorder.calls import Rejections, problem, record
from tests.recorder.conftest import Make
from tests.recorder.service import Service
from usage_recorder import NotAcknowledged, Pauses, Problem, RecorderClosed, SpoolFailed, UsageRecorder, UsageRejected
from usage_recorder.events import UsageEvent
from usage_recorder.parking import is_temporary
from usage_recorder.spool import Spool

IMPATIENT = Pauses(first=0.001, longest=0.01, operator=0.002, postponed_first=0.02, postponed_longest=0.05)
PATIENT = Pauses(first=0.001, longest=0.01, operator=0.002, postponed_first=60)
NOT_FOUND = problem(404, "subscription_not_found")
INACTIVE = problem(409, "subscription_inactive")
OUT_OF_RANGE = {"code": "out_of_range", "message": "m"}
AHEAD = problem(422, "validation_error") | {"errors": [{"field": "occurredAt"} | OUT_OF_RANGE]}
REPORTED_LONG_AGO = problem(422, "validation_error") | {"errors": [{"field": "reportedAt"} | OUT_OF_RANGE]}

both = pytest.mark.parametrize("spooled", [False, True], ids=["memory", "spool"])


def until(met: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, "it does not come true"
        time.sleep(0.005)


@pytest.fixture
def parking(make: Make, tmp_path: Path) -> Callable[..., UsageRecorder]:
    """Makes recorders that try again soon."""

    def recorder(spooled: bool = False, **settings: Any) -> UsageRecorder:
        return make(**{"pauses": IMPATIENT, "spool": tmp_path / "spool" if spooled else None} | settings)

    return recorder


Parking = Callable[..., UsageRecorder]


def refuse(service: Service, *event_ids: str, because: dict[str, Any] = INACTIVE) -> None:
    service.judge = lambda event: because if event["eventId"] in event_ids else None


def accept(service: Service) -> None:
    service.judge = lambda _: None


# --- For a person -----------------------------------------------------------------------------


@both
def test_a_rejected_event_is_parked_with_the_reason(service: Service, parking: Parking, spooled: bool) -> None:
    recorder = parking(spooled)
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


@both
def test_a_parked_event_is_recorded_once_its_cause_is_fixed(service: Service, parking: Parking, spooled: bool) -> None:
    recorder = parking(spooled)
    refuse(service, "bad", "worse")
    record(recorder, event_id="bad")
    record(recorder, event_id="worse")
    assert recorder.flush()
    when = service.arrivals, [each.event.when for each in recorder.parked()]
    refuse(service, "worse")
    assert recorder.retry_parked() == 2
    assert recorder.flush()
    assert service.ids == ["bad"]
    assert datetime.fromisoformat(service.events["sub-1", "bad"]["reportedAt"]) == when[1][0], "it kept its time"
    [left] = recorder.parked()
    assert left.event.event_id == "worse"
    assert recorder.drop_parked([left]) == 1
    assert recorder.drop_parked([left]) == 0
    assert recorder.parked() == []
    assert recorder.retry_parked() == 0


@both
def test_some_parked_events_are_sent_again_and_the_others_stay(
    service: Service, parking: Parking, spooled: bool
) -> None:
    recorder = parking(spooled)
    refuse(service, "a", "b", "c")
    for event_id in "abc":
        record(recorder, event_id=event_id)
    assert recorder.flush()
    accept(service)
    assert recorder.retry_parked(each for each in recorder.parked() if each.event.event_id != "b") == 2
    assert recorder.flush()
    assert sorted(service.ids) == ["a", "c"]
    assert [each.event.event_id for each in recorder.parked()] == ["b"]


@both
def test_a_job_that_is_run_again_and_again_leaves_one_parked_event(
    service: Service, parking: Parking, spooled: bool
) -> None:
    recorder = parking(spooled)
    refuse(service, "job-1")
    for _ in range(3):
        with pytest.raises(UsageRejected):
            recorder.record_now("user-1", "sub-1", "report", 1, event_id="job-1")
    with pytest.raises(UsageRejected):
        recorder.record_now("user-1", "sub-1", "report", 2, event_id="job-1")
    assert [each.event.quantity for each in recorder.parked()] == [1, 2]


@both
@pytest.mark.parametrize("because", [INACTIVE, NOT_FOUND], ids=["rejected", "postponed"])
def test_a_job_that_is_run_again_with_success_leaves_nothing_parked(
    service: Service, parking: Parking, spooled: bool, because: dict[str, Any]
) -> None:
    recorder = parking(spooled, pauses=PATIENT)
    refuse(service, "job-1", "job-2", because=because)
    for event_id in ("job-1", "job-2"):
        with pytest.raises((UsageRejected, NotAcknowledged)):
            recorder.record_now("user-1", "sub-1", "report", 1, event_id=event_id)
    accept(service)
    assert recorder.record_now("user-1", "sub-1", "report", 1, event_id="job-1").status == "replayed"
    assert [each.event.event_id for each in recorder.parked()] == ["job-2"]
    record(recorder, event_id="job-2")
    assert recorder.flush()
    assert recorder.parked() == []


@both
def test_a_report_from_too_long_ago_is_retried_as_one_of_today(
    service: Service, parking: Parking, spooled: bool
) -> None:
    """A clock at 1970 stamped it, or it lay in a spool for a year. A person decides; then it can succeed."""
    rejections = Rejections()
    recorder = parking(spooled, on_rejected=rejections)
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


def test_parked_events_take_no_room_from_others(service: Service, parking: Parking) -> None:
    recorder = parking(max_buffered=2, full_timeout=0)
    refuse(service, *"abcd", because=NOT_FOUND)
    for event_id in "abcd":
        record(recorder, event_id=event_id)
        recorder.flush()
    assert len(recorder.parked()) == 4
    ids = record(recorder)
    until(lambda: service.ids == ids)


def test_memory_gives_up_what_was_reported_before_what_is_retried(
    service: Service, parking: Parking, caplog: pytest.LogCaptureFixture
) -> None:
    rejections = Rejections()
    recorder = parking(max_parked=2, on_rejected=rejections, pauses=PATIENT)
    refuse(service, "first")
    record(recorder, event_id="first")
    assert recorder.flush()
    refuse(service, "second", "third", "fourth", because=NOT_FOUND)
    for event_id in ("second", "third"):
        record(recorder, event_id=event_id)
        recorder.flush()
    until(lambda: "usage event first was discarded" in caplog.text)
    assert rejections == [("first", "subscription_inactive")], "it is reported once"
    assert [each.event.event_id for each in recorder.parked()] == ["second", "third"]
    record(recorder, event_id="fourth")
    until(lambda: rejections[1:] == [("second", "subscription_not_found")])
    assert "usage event second was discarded" in caplog.text
    assert [each.event.event_id for each in recorder.parked()] == ["third", "fourth"]


def test_a_closed_recorder_tells_nothing_of_parked_events(parking: Parking) -> None:
    recorder = parking()
    recorder.close()
    for call in (recorder.parked, recorder.retry_parked, lambda: recorder.drop_parked([])):
        with pytest.raises(RecorderClosed):
            call()


def test_a_spool_that_cannot_park_an_event_loses_it_not(
    service: Service, parking: Parking, monkeypatch: pytest.MonkeyPatch
) -> None:
    parking_it, tries = Spool.park, []

    def park(*arguments: Any) -> Any:
        tries.append(1)
        if len(tries) < 3:
            raise SpoolFailed("the disk is full")
        return parking_it(*arguments)

    monkeypatch.setattr(Spool, "park", park)
    recorder = parking(True)
    refuse(service, "bad")
    record(recorder, event_id="bad")
    assert recorder.flush()
    assert len(tries) == 3
    assert [each.event.event_id for each in recorder.parked()] == ["bad"]


# --- By itself ------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("because", [NOT_FOUND, AHEAD], ids=["no subscription yet", "a clock ahead"])
def test_what_time_mends_is_sent_again_by_itself(
    service: Service, parking: Parking, spooled: bool, because: dict[str, Any]
) -> None:
    rejections = Rejections()
    recorder = parking(spooled, on_rejected=rejections)
    refuse(service, "early", because=because)
    record(recorder, event_id="early", occurred_at=datetime.now(UTC) if because is AHEAD else None)
    others = record(recorder, 3)
    assert not recorder.flush()
    assert sorted(service.ids) == sorted(others)
    assert recorder.unsent == 1
    until(lambda: service.arrivals["early"] >= 3)
    accept(service)
    until(lambda: recorder.unsent == 0)
    assert "early" in service.ids
    assert recorder.parked() == []
    assert rejections == []
    assert recorder.flush()


@both
def test_nobody_waits_for_what_is_postponed(service: Service, parking: Parking, spooled: bool) -> None:
    recorder = parking(spooled, pauses=PATIENT)
    refuse(service, "early", because=NOT_FOUND)
    record(recorder, event_id="early")
    began = time.monotonic()
    assert not recorder.flush(30)
    assert not recorder.flush(30)
    others = record(recorder, 2)
    assert not recorder.flush(30)
    assert recorder.close(30) is False
    assert time.monotonic() - began < 10
    assert service.ids == others
    assert service.arrivals["early"] == 1


@both
def test_a_day_later_it_is_rejected_and_waits_for_a_person(service: Service, parking: Parking, spooled: bool) -> None:
    rejections = Rejections()
    a_day = Pauses(first=0.001, longest=0.01, postponed_first=0.02, postponed_longest=0.05, postponed_for=0.3)
    recorder = parking(spooled, on_rejected=rejections, pauses=a_day)
    refuse(service, "early", because=NOT_FOUND)
    record(recorder, event_id="early")
    until(lambda: rejections)
    until(lambda: recorder.unsent == 0)
    assert rejections == [("early", "subscription_not_found")]
    [parked] = recorder.parked()
    assert parked.retry_at is None
    tries = service.arrivals["early"]
    assert tries >= 2
    time.sleep(0.2)
    assert service.arrivals["early"] == tries
    accept(service)
    assert recorder.retry_parked() == 1
    assert recorder.flush()
    assert service.ids == ["early"]


def test_a_postponed_event_outlives_its_process(service: Service, parking: Parking) -> None:
    refuse(service, "early", because=NOT_FOUND)
    first = parking(True, pauses=PATIENT)
    record(first, event_id="early")
    assert first.close() is False
    assert first.unsent == 1
    accept(service)
    second = parking(True)
    [parked] = second.parked()
    assert parked.retry_at
    assert second.retry_parked() == 1
    assert second.flush()
    assert service.ids == ["early"]


def test_what_memory_postpones_is_reported_when_the_process_ends(service: Service, parking: Parking) -> None:
    rejections = Rejections()
    refuse(service, "early", because=NOT_FOUND)
    recorder = parking(pauses=PATIENT, on_rejected=rejections)
    record(recorder, event_id="early")
    assert recorder.close() is False
    assert rejections == [("early", "subscription_not_found")]


@both
def test_recording_now_says_at_once_that_it_is_refused_for_now(
    service: Service, parking: Parking, spooled: bool
) -> None:
    recorder = parking(spooled)
    refuse(service, "early", because=NOT_FOUND)
    began = time.monotonic()
    with pytest.raises(NotAcknowledged, match="404 subscription_not_found"):
        recorder.record_now("user-1", "sub-1", "report", 1, event_id="early", timeout=30)
    assert time.monotonic() - began < 10
    accept(service)
    until(lambda: service.ids == ["early"])
    until(lambda: recorder.unsent == 0)


@both
def test_a_service_that_goes_away_while_an_event_is_tried_again_loses_nothing(
    service: Service, parking: Parking, spooled: bool
) -> None:
    recorder = parking(spooled)
    refuse(service, "early", because=NOT_FOUND)
    record(recorder, event_id="early")
    until(lambda: service.arrivals["early"] >= 2)
    service.stop()
    time.sleep(0.2)
    assert recorder.unsent == 1
    assert len(recorder.parked()) == 1
    accept(service)
    service.start()
    until(lambda: recorder.unsent == 0)
    assert service.ids == ["early"]


@both
def test_a_retry_is_sent_however_many_events_are_new(service: Service, parking: Parking, spooled: bool) -> None:
    """There are always more new events than fit into a batch."""
    recorder = parking(spooled, max_batch=10, linger=0)
    refuse(service, "early", because=NOT_FOUND)
    record(recorder, event_id="early")
    until(recorder.parked)
    busy = True

    def judge(event: dict[str, Any]) -> None:
        if busy and event["eventId"] != "early":
            service_is_busy.append(recorder.record("user-1", "sub-1", "report", 1))

    service_is_busy: list[str] = []
    service.judge = judge
    record(recorder, 30)
    try:
        until(lambda: "early" in service.ids)
        assert len(service_is_busy) >= 10
    finally:
        busy = False
    assert recorder.flush()


@both
def test_a_retry_that_the_service_fails_for_does_not_hold_up_new_events(
    service: Service, parking: Parking, spooled: bool
) -> None:
    pauses = Pauses(first=0.001, longest=0.01, postponed_first=0.2, postponed_longest=0.2)
    recorder = parking(spooled, pauses=pauses, max_batch=10)
    refuse(service, "poison", because=NOT_FOUND)
    record(recorder, event_id="poison")
    until(recorder.parked)
    accept(service)

    def fail_for_poison(request: fails.Request) -> None:
        poisoned = any(event["eventId"] == "poison" for event in request.events())
        return request.reply(500, {"code": "internal_error"}) if poisoned else fails.answer(request)

    service.fail_with(*[fail_for_poison] * 200)
    until(lambda: len(service.failures) < 200)
    ids = record(recorder, 100)
    until(lambda: set(service.ids) >= set(ids))
    assert "poison" not in service.ids
    service.failures.clear()
    until(lambda: "poison" in service.ids)


# --- What is said about it ----------------------------------------------------------------------


def test_the_log_says_how_many_events_are_unsent_in_all(
    service: Service, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    service.stop()
    recorder = make(max_batch=2)
    record(recorder, 5)
    assert not recorder.flush(0.2)
    assert " usage events were not sent, 5 unsent in total, next attempt in " in caplog.text


def test_a_spool_that_fails_does_not_end_the_sending_by_way_of_the_log(
    service: Service, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: Spool) -> int:
        raise SpoolFailed("the disk is gone")

    service.stop()
    recorder = make(spool=tmp_path / "spool")
    ids = record(recorder, 2)
    with monkeypatch.context() as broken_disk:
        broken_disk.setattr(Spool, "__len__", broken)
        assert not recorder.flush(0.2)
    assert "an unknown number unsent in total" in caplog.text
    service.start()
    assert recorder.flush()
    assert sorted(service.ids) == sorted(ids)


# --- The rules ------------------------------------------------------------------------------

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def at(moment: datetime, *, reported: bool = False) -> UsageEvent:
    times = {"occurred_at": None, "reported_at": moment} if reported else {"occurred_at": moment}
    return UsageEvent(
        event_id="e1", user_id="u", subscription_id="s", usage_type="t", quantity=Decimal(1), metadata={}, **times
    )


def out_of_range(*fields: str) -> Problem:
    return Problem(422, "validation_error", "why", tuple({"field": each, "code": "out_of_range"} for each in fields))


@pytest.mark.parametrize(
    ("refusal", "event", "expected"),
    [
        pytest.param(Problem(404, "subscription_not_found", ""), at(NOW), True, id="no subscription yet"),
        pytest.param(Problem(404, "plan_not_found", ""), at(NOW), False, id="something else is not there"),
        pytest.param(out_of_range("occurredAt"), at(NOW + timedelta(hours=3)), True, id="ahead"),
        pytest.param(out_of_range("reportedAt"), at(NOW, reported=True), False, id="reported by a clock long ago"),
        pytest.param(out_of_range("occurredAt"), at(NOW - timedelta(days=9)), True, id="long ago, by a clock ahead"),
        pytest.param(out_of_range("occurredAt"), at(NOW - timedelta(days=367)), False, id="too old"),
        pytest.param(out_of_range("quantity"), at(NOW), False, id="not about the time"),
        pytest.param(out_of_range("occurredAt", "quantity"), at(NOW), False, id="not only about the time"),
        pytest.param(Problem(422, "validation_error", "why"), at(NOW), False, id="about nothing in particular"),
        pytest.param(Problem(409, "event_id_conflict", ""), at(NOW), False, id="a conflict"),
    ],
)
def test_what_time_may_mend(refusal: Problem, event: UsageEvent, expected: bool) -> None:
    assert is_temporary(refusal, event, NOW) is expected


def test_pauses_grow_and_end_after_a_day() -> None:
    pauses, now, gaps = Pauses(), 0.0, []
    while (later := pauses.retry_at(0.0, now)) is not None:
        gaps.append(later - now)
        now = later
    assert 15 <= gaps[0] <= 30
    assert max(gaps) <= 1800
    assert all(gap >= 900 for gap in gaps[20:])
    assert 86_400 <= now <= 86_400 + 1800
    assert 48 <= len(gaps) <= 120


@pytest.mark.parametrize("longest", [0, 3001])
def test_a_pause_that_looks_like_a_wrong_clock_is_refused(longest: float) -> None:
    with pytest.raises(ValueError, match="postponed_longest must be more than 0 and at most 3000 s"):
        Pauses(postponed_longest=longest)


def test_a_clock_that_was_set_back_ends_no_pause_for_ever() -> None:
    assert Pauses().retry_at(since=1_000_000.0, now=0.0) == pytest.approx(22.5, abs=7.5)
