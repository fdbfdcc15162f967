"""When the service rejects events, they are reported and do not hold up the others."""

from typing import Any

import pytest

from tests.recorder import failures
from tests.recorder.helpers import MakeRecorder, Rejections, problem, record
from tests.recorder.service import Request, Service, respond


def test_a_rejected_event_is_reported_and_not_sent_again(
    service: Service, make: MakeRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    rejections = Rejections()
    recorder = make(on_rejected=rejections)
    service.judge = lambda event: problem(409, "subscription_inactive") if event["eventId"] == "bad" else None
    good = record(recorder, 2)
    record(recorder, event_id="bad")
    assert recorder.flush()
    assert sorted(service.ids) == sorted(good)
    assert rejections == [("bad", "subscription_inactive")]
    assert service.arrivals["bad"] == 1
    [line] = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    assert "bad was not recorded: 409 subscription_inactive: why (user user-1, subscription sub-1, 1 report" in line


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_event_rejected_with_a_transient_status_is_sent_again(
    service: Service, make: MakeRecorder, status: int
) -> None:
    rejections = Rejections()
    recorder = make(on_rejected=rejections)
    attempts = {"count": 0}

    def judge(event: dict[str, Any]) -> dict[str, Any] | None:
        attempts["count"] += event["eventId"] == "later"
        return problem(status) if event["eventId"] == "later" and attempts["count"] < 4 else None

    service.judge = judge
    record(recorder, event_id="later")
    others = record(recorder, 3)
    assert recorder.flush()
    assert sorted(service.ids) == sorted([*others, "later"])
    assert [service.arrivals[each] for each in others] == [1, 1, 1]
    assert rejections == []


def test_stuck_events_do_not_hold_up_the_others(service: Service, make: MakeRecorder) -> None:
    recorder = make(max_batch=2)
    stuck = {f"stuck-{number}" for number in range(4)}
    service.judge = lambda event: problem(503) if event["eventId"] in stuck else None
    for each in sorted(stuck):
        record(recorder, event_id=each)
    others = record(recorder, 5)
    while recorder.unsent > 4:
        recorder.flush(0.02)
    assert set(service.ids) == set(others)
    service.judge = lambda _: None
    assert recorder.flush()
    assert set(service.ids) == {*others, *stuck}


def test_an_event_that_makes_the_service_fail_does_not_hold_up_the_others(service: Service, make: MakeRecorder) -> None:
    recorder = make(linger=30)

    def failing(request: Request) -> None:
        service.fail_with(failing)
        poisoned = any(event["eventId"] == "poison" for event in request.events())
        return request.reply(500, {"code": "internal_error"}) if poisoned else respond(request)

    service.fail_with(failing)
    others = record(recorder, 6)
    record(recorder, event_id="poison")
    others += record(recorder, 6)
    while recorder.unsent > 1:
        recorder.flush(0.02)
    assert sorted(service.ids) == sorted(others)


def test_a_conflict_is_reported(service: Service, make: MakeRecorder) -> None:
    rejections = Rejections()
    recorder = make(on_rejected=rejections)
    record(recorder, quantity=1, event_id="e1")
    record(recorder, quantity=2, event_id="e1")
    assert recorder.flush()
    assert rejections == [("e1", "event_id_conflict")]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_when_one_event_makes_the_batch_invalid_the_others_are_recorded(
    service: Service, make: MakeRecorder, status: int
) -> None:
    rejections = Rejections()
    recorder = make(on_rejected=rejections, linger=30)

    def spoiled(request: Request) -> None:
        service.fail_with(spoiled)
        if any(event["metadata"].get("spoilt") for event in request.events()):
            return request.reply(status, problem(status, "spoilt"))
        return respond(request)

    service.fail_with(spoiled)
    good = record(recorder, 20)
    record(recorder, event_id="bad", metadata={"spoilt": True})
    good += record(recorder, 20)
    assert recorder.flush()
    assert sorted(service.ids) == sorted(good)
    assert rejections == [("bad", "spoilt")]


def test_when_a_body_is_too_large_it_is_split(service: Service, make: MakeRecorder) -> None:
    recorder = make(linger=30)
    service.max_events = 3
    ids = record(recorder, 10)
    assert recorder.flush()
    assert sorted(service.ids) == sorted(ids)


def test_when_the_service_fails_while_a_batch_is_split_no_event_is_lost(service: Service, make: MakeRecorder) -> None:
    recorder = make(linger=30)
    service.fail_with(failures.status(413), failures.status(503), failures.status(413), respond, failures.hang_up)
    ids = record(recorder, 10)
    assert recorder.flush()
    assert sorted(service.ids) == sorted(ids)


def test_when_on_rejected_raises_sending_goes_on(service: Service, make: MakeRecorder) -> None:
    recorder = make(on_rejected=lambda *_: 1 / 0)
    service.judge = lambda event: problem(409) if event["eventId"] == "bad" else None
    record(recorder, event_id="bad")
    ids = record(recorder, 2)
    assert recorder.flush()
    assert service.ids == ids
