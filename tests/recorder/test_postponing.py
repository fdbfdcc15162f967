"""Events refused for a temporary cause are postponed: parked, and retried automatically for a day."""

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.recorder.helpers import (
    AHEAD,
    NOT_FOUND,
    PATIENT,
    MakeRecorder,
    Rejections,
    accept,
    memory_and_spool,
    record,
    refuse,
    wait_until,
)
from tests.recorder.service import Request, Service, respond
from usage_recorder import NotAcknowledged, Pauses


@memory_and_spool
@pytest.mark.parametrize("because", [NOT_FOUND, AHEAD], ids=["no subscription yet", "a clock ahead"])
def test_an_event_with_a_temporary_cause_is_retried_until_it_is_recorded(
    service: Service, make_impatient: MakeRecorder, spooled: bool, because: dict[str, Any]
) -> None:
    rejections = Rejections()
    recorder = make_impatient(spooled, on_rejected=rejections)
    refuse(service, "early", because=because)
    record(recorder, event_id="early", occurred_at=datetime.now(UTC) if because is AHEAD else None)
    others = record(recorder, 3)
    assert not recorder.flush()
    assert sorted(service.ids) == sorted(others)
    assert recorder.unsent == 1
    wait_until(lambda: service.arrivals["early"] >= 3)
    accept(service)
    wait_until(lambda: recorder.unsent == 0)
    assert "early" in service.ids
    assert recorder.parked() == []
    assert rejections == []
    assert recorder.flush()


@memory_and_spool
def test_flush_and_close_do_not_wait_for_postponed_events(
    service: Service, make_impatient: MakeRecorder, spooled: bool
) -> None:
    recorder = make_impatient(spooled, pauses=PATIENT)
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


@memory_and_spool
def test_after_a_day_a_postponed_event_is_rejected_and_not_retried(
    service: Service, make_impatient: MakeRecorder, spooled: bool
) -> None:
    rejections = Rejections()
    a_day = Pauses(first=0.001, longest=0.01, postponed_first=0.02, postponed_longest=0.05, postponed_for=0.3)
    recorder = make_impatient(spooled, on_rejected=rejections, pauses=a_day)
    refuse(service, "early", because=NOT_FOUND)
    record(recorder, event_id="early")
    wait_until(lambda: rejections)
    wait_until(lambda: recorder.unsent == 0)
    assert rejections == [("early", "subscription_not_found")]
    [parked] = recorder.parked()
    assert parked.retry_at is None
    attempts = service.arrivals["early"]
    assert attempts >= 2
    time.sleep(0.2)
    assert service.arrivals["early"] == attempts
    accept(service)
    assert recorder.retry_parked() == 1
    assert recorder.flush()
    assert service.ids == ["early"]


def test_a_postponed_event_survives_a_restart(service: Service, make_impatient: MakeRecorder) -> None:
    refuse(service, "early", because=NOT_FOUND)
    first = make_impatient(True, pauses=PATIENT)
    record(first, event_id="early")
    assert first.close() is False
    assert first.unsent == 1
    accept(service)
    second = make_impatient(True)
    [parked] = second.parked()
    assert parked.retry_at
    assert second.retry_parked() == 1
    assert second.flush()
    assert service.ids == ["early"]


def test_when_the_recorder_is_closed_events_postponed_in_memory_are_reported(
    service: Service, make_impatient: MakeRecorder
) -> None:
    rejections = Rejections()
    refuse(service, "early", because=NOT_FOUND)
    recorder = make_impatient(pauses=PATIENT, on_rejected=rejections)
    record(recorder, event_id="early")
    assert recorder.close() is False
    assert rejections == [("early", "subscription_not_found")]


@memory_and_spool
def test_record_now_returns_at_once_when_an_event_is_postponed(
    service: Service, make_impatient: MakeRecorder, spooled: bool
) -> None:
    recorder = make_impatient(spooled)
    refuse(service, "early", because=NOT_FOUND)
    began = time.monotonic()
    with pytest.raises(NotAcknowledged, match="404 subscription_not_found"):
        recorder.record_now("user-1", "sub-1", "report", 1, event_id="early", timeout=30)
    assert time.monotonic() - began < 10
    accept(service)
    wait_until(lambda: service.ids == ["early"])
    wait_until(lambda: recorder.unsent == 0)


@memory_and_spool
def test_when_the_service_goes_away_during_retries_no_event_is_lost(
    service: Service, make_impatient: MakeRecorder, spooled: bool
) -> None:
    recorder = make_impatient(spooled)
    refuse(service, "early", because=NOT_FOUND)
    record(recorder, event_id="early")
    wait_until(lambda: service.arrivals["early"] >= 2)
    service.stop()
    time.sleep(0.2)
    assert recorder.unsent == 1
    assert len(recorder.parked()) == 1
    accept(service)
    service.start()
    wait_until(lambda: recorder.unsent == 0)
    assert service.ids == ["early"]


@memory_and_spool
def test_a_due_retry_is_sent_however_many_events_are_new(
    service: Service, make_impatient: MakeRecorder, spooled: bool
) -> None:
    """Record a new event for each one sent, so that there are always more than fit into a batch."""
    recorder = make_impatient(spooled, max_batch=10, linger=0)
    refuse(service, "early", because=NOT_FOUND)
    record(recorder, event_id="early")
    wait_until(recorder.parked)
    busy = True

    def judge(event: dict[str, Any]) -> None:
        if busy and event["eventId"] != "early":
            new_ids.append(recorder.record("user-1", "sub-1", "report", 1))

    new_ids: list[str] = []
    service.judge = judge
    record(recorder, 30)
    try:
        wait_until(lambda: "early" in service.ids)
        assert len(new_ids) >= 10
    finally:
        busy = False
    assert recorder.flush()


@memory_and_spool
def test_a_retry_that_makes_the_service_fail_does_not_hold_up_new_events(
    service: Service, make_impatient: MakeRecorder, spooled: bool
) -> None:
    pauses = Pauses(first=0.001, longest=0.01, postponed_first=0.2, postponed_longest=0.2)
    recorder = make_impatient(spooled, pauses=pauses, max_batch=10)
    refuse(service, "poison", because=NOT_FOUND)
    record(recorder, event_id="poison")
    wait_until(recorder.parked)
    accept(service)

    def fail_for_poison(request: Request) -> None:
        poisoned = any(event["eventId"] == "poison" for event in request.events())
        return request.reply(500, {"code": "internal_error"}) if poisoned else respond(request)

    service.fail_with(*[fail_for_poison] * 200)
    wait_until(lambda: len(service.failures) < 200)
    ids = record(recorder, 100)
    wait_until(lambda: set(service.ids) >= set(ids))
    assert "poison" not in service.ids
    service.failures.clear()
    wait_until(lambda: "poison" in service.ids)
