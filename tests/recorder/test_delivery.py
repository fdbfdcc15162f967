"""The service fails in every way: nothing is lost, nothing has two ids, and what is refused holds up no others."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.recorder import service as fails
from tests.recorder.calls import FAILURES, SLOW, Rejections, problem, record
from tests.recorder.conftest import QUICK, Make
from tests.recorder.service import KEY, Failure, Service
from usage_recorder import UsageRecorder

# --- When the service fails --------------------------------------------------------------------


@pytest.mark.parametrize("spooled", [False, True], ids=["memory", "spool"])
@pytest.mark.parametrize("failure", range(len(FAILURES)))
def test_every_failure_that_passes_is_outlived(
    service: Service, make: Make, tmp_path: Path, failure: int, spooled: bool
) -> None:
    rejections = Rejections()
    recorder = make(on_rejected=rejections, spool=tmp_path / "spool" if spooled else None)
    service.fail_with(FAILURES[failure], FAILURES[failure])
    ids = record(recorder, 3)
    assert recorder.flush()
    assert sorted(service.ids) == sorted(ids)
    assert rejections == []
    assert recorder.unsent == 0


@given(failures=st.lists(st.sampled_from(FAILURES), max_size=12), sizes=st.lists(st.integers(1, 7), max_size=6))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_happens_each_event_is_recorded_once(failures: list[Failure], sizes: list[int]) -> None:
    service = Service()
    try:
        service.fail_with(*failures)
        with UsageRecorder(service.url, api_key=KEY, max_batch=5, linger=0, pauses=QUICK) as recorder:
            ids = [each for size in sizes for each in record(recorder, size)]
            assert recorder.flush()
        assert sorted(service.ids) == sorted(ids)
        assert set(service.arrivals) == set(ids)
    finally:
        service.stop()


def test_a_service_that_is_away_gets_everything_when_it_is_back(service: Service, make: Make) -> None:
    recorder = make()
    first = record(recorder, 2)
    assert recorder.flush()
    service.stop()
    second = record(recorder, 3)
    assert not recorder.flush(0.05)
    assert recorder.unsent == 3
    service.start()
    assert recorder.flush()
    assert sorted(service.ids) == sorted(first + second)


def test_a_service_that_does_not_answer_is_asked_again(service: Service, make: Make) -> None:
    recorder = make(request_timeout=0.1)
    enough = threading.Event()
    service.fail_with(fails.never(enough))
    ids = record(recorder)
    assert recorder.flush()
    enough.set()
    assert service.ids == ids


def test_a_service_whose_answer_never_ends_is_asked_again(service: Service, make: Make) -> None:
    recorder = make(request_timeout=0.1)
    enough = threading.Event()
    service.fail_with(fails.drip_body(enough))
    ids = record(recorder)
    try:
        assert recorder.flush(5)
    finally:
        enough.set()
    assert service.ids == ids


def test_a_token_that_cannot_be_had_loses_nothing_and_is_logged_nowhere(
    service: Service, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    answers: list[Callable[[], str]] = [
        lambda: 1 / 0,
        lambda: "s\u00e9cret",
        lambda: "a sec\nret",
        lambda: "\x00secret",
    ]

    def token() -> str:
        return answers.pop(0)() if answers else f"{KEY}\n"

    recorder = make(token=token)
    ids = record(recorder)
    assert recorder.flush()
    assert service.ids == ids
    assert "ZeroDivisionError" in caplog.text
    assert "cret" not in caplog.text


def test_the_service_decides_when_it_is_asked_again(service: Service, make: Make) -> None:
    """A flush cuts the recorder's own pauses short, but not this one."""
    recorder = make()
    service.fail_with(fails.status(429, retry_after="60"))
    record(recorder)
    assert not recorder.flush(0.1)
    assert not recorder.flush(0.1)
    assert len(service.paths) == 1


def test_a_flush_is_a_try_even_during_a_long_pause(service: Service, make: Make) -> None:
    recorder = make(pauses=SLOW)
    service.fail_with(fails.status(401), fails.status(503))
    ids = record(recorder)
    while not recorder.flush(0.05):
        pass
    assert service.ids == ids


# --- When the service rejects ----------------------------------------------------------------


def test_an_event_that_is_rejected_is_reported_and_not_sent_again(
    service: Service, make: Make, caplog: pytest.LogCaptureFixture
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
def test_an_event_that_is_rejected_for_now_is_sent_again(service: Service, make: Make, status: int) -> None:
    rejections = Rejections()
    recorder = make(on_rejected=rejections)
    tries = {"count": 0}

    def judge(event: dict[str, Any]) -> dict[str, Any] | None:
        tries["count"] += event["eventId"] == "later"
        return problem(status) if event["eventId"] == "later" and tries["count"] < 4 else None

    service.judge = judge
    record(recorder, event_id="later")
    others = record(recorder, 3)
    assert recorder.flush()
    assert sorted(service.ids) == sorted([*others, "later"])
    assert [service.arrivals[each] for each in others] == [1, 1, 1]
    assert rejections == []


def test_events_that_are_stuck_do_not_hold_up_the_others(service: Service, make: Make) -> None:
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


def test_one_event_that_the_service_fails_for_does_not_hold_up_the_others(service: Service, make: Make) -> None:
    recorder = make(linger=30)

    def failing(request: fails.Request) -> None:
        service.fail_with(failing)
        poisoned = any(event["eventId"] == "poison" for event in request.events())
        return request.reply(500, {"code": "internal_error"}) if poisoned else fails.answer(request)

    service.fail_with(failing)
    others = record(recorder, 6)
    record(recorder, event_id="poison")
    others += record(recorder, 6)
    while recorder.unsent > 1:
        recorder.flush(0.02)
    assert sorted(service.ids) == sorted(others)


def test_a_conflict_is_reported(service: Service, make: Make) -> None:
    rejections = Rejections()
    recorder = make(on_rejected=rejections)
    record(recorder, quantity=1, event_id="e1")
    record(recorder, quantity=2, event_id="e1")
    assert recorder.flush()
    assert rejections == [("e1", "event_id_conflict")]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_one_event_that_spoils_its_batch_takes_no_other_with_it(service: Service, make: Make, status: int) -> None:
    rejections = Rejections()
    recorder = make(on_rejected=rejections, linger=30)

    def spoiled(request: fails.Request) -> None:
        service.fail_with(spoiled)
        if any(event["metadata"].get("spoilt") for event in request.events()):
            return request.reply(status, problem(status, "spoilt"))
        return fails.answer(request)

    service.fail_with(spoiled)
    good = record(recorder, 20)
    record(recorder, event_id="bad", metadata={"spoilt": True})
    good += record(recorder, 20)
    assert recorder.flush()
    assert sorted(service.ids) == sorted(good)
    assert rejections == [("bad", "spoilt")]


def test_a_service_that_takes_smaller_bodies_gets_them(service: Service, make: Make) -> None:
    recorder = make(linger=30)
    service.most_events = 3
    ids = record(recorder, 10)
    assert recorder.flush()
    assert sorted(service.ids) == sorted(ids)


def test_a_service_that_goes_away_while_a_batch_is_taken_apart_loses_nothing(service: Service, make: Make) -> None:
    recorder = make(linger=30)
    service.fail_with(fails.status(413), fails.status(503), fails.status(413), fails.answer, fails.hang_up)
    ids = record(recorder, 10)
    assert recorder.flush()
    assert sorted(service.ids) == sorted(ids)


def test_a_callback_that_fails_harms_nothing(service: Service, make: Make) -> None:
    recorder = make(on_rejected=lambda *_: 1 / 0)
    service.judge = lambda event: problem(409) if event["eventId"] == "bad" else None
    record(recorder, event_id="bad")
    ids = record(recorder, 2)
    assert recorder.flush()
    assert service.ids == ids
