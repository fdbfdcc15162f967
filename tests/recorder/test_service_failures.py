"""When the service, the token or the spool fails, no event is lost, and none is recorded twice."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.recorder import failures
from tests.recorder.helpers import QUICK, SLOW, MakeRecorder, Rejections, fail_spool, memory_and_spool, record
from tests.recorder.service import KEY, Failure, Service
from usage_recorder import SpoolFailed, UsageRecorder
from usage_recorder.spool import Spool


@memory_and_spool
@pytest.mark.parametrize("failure", failures.TEMPORARY)
def test_when_the_service_fails_twice_all_events_are_still_recorded(
    service: Service, make: MakeRecorder, tmp_path: Path, failure: Failure, spooled: bool
) -> None:
    rejections = Rejections()
    recorder = make(on_rejected=rejections, spool=tmp_path / "spool" if spooled else None)
    service.fail_with(failure, failure)
    ids = record(recorder, 3)
    assert recorder.flush()
    assert sorted(service.ids) == sorted(ids)
    assert rejections == []
    assert recorder.unsent == 0


@given(
    failures=st.lists(st.sampled_from(failures.TEMPORARY), max_size=12), sizes=st.lists(st.integers(1, 7), max_size=6)
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_fails_each_event_is_recorded_once(failures: list[Failure], sizes: list[int]) -> None:
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


def test_when_the_service_is_back_it_gets_all_events(service: Service, make: MakeRecorder) -> None:
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


def test_when_the_service_does_not_respond_the_request_is_repeated(service: Service, make: MakeRecorder) -> None:
    recorder = make(request_timeout=0.1)
    enough = threading.Event()
    service.fail_with(failures.no_response(enough))
    ids = record(recorder)
    assert recorder.flush()
    enough.set()
    assert service.ids == ids


def test_when_a_response_never_ends_the_request_is_repeated(service: Service, make: MakeRecorder) -> None:
    recorder = make(request_timeout=0.1)
    enough = threading.Event()
    service.fail_with(failures.endless_body(enough))
    ids = record(recorder)
    try:
        assert recorder.flush(5)
    finally:
        enough.set()
    assert service.ids == ids


def test_when_the_token_function_fails_no_event_is_lost_and_no_secret_logged(
    service: Service, make: MakeRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> str:
        raise ZeroDivisionError

    answers: list[Callable[[], str]] = [
        broken,
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


def test_a_flush_respects_retry_after(service: Service, make: MakeRecorder) -> None:
    """A flush ends only the pauses that the recorder itself chose."""
    recorder = make()
    service.fail_with(failures.status(429, retry_after="60"))
    record(recorder)
    assert not recorder.flush(0.1)
    assert not recorder.flush(0.1)
    assert len(service.paths) == 1


def test_a_flush_makes_an_attempt_even_during_a_long_pause(service: Service, make: MakeRecorder) -> None:
    recorder = make(pauses=SLOW)
    service.fail_with(failures.status(401), failures.status(503))
    ids = record(recorder)
    while not recorder.flush(0.05):
        pass
    assert service.ids == ids


def test_the_log_tells_the_number_of_unsent_events(
    service: Service, make: MakeRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    service.stop()
    recorder = make(max_batch=2)
    record(recorder, 5)
    assert not recorder.flush(0.2)
    assert " usage events were not sent, 5 unsent in total, next attempt in " in caplog.text


def test_when_the_spool_fails_while_logging_sending_goes_on(
    service: Service,
    make: MakeRecorder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_: Spool) -> int:
        raise SpoolFailed("the disk is gone")

    service.stop()
    recorder = make(spool=tmp_path / "spool")
    ids = record(recorder, 2)
    with monkeypatch.context() as broken_disk:
        broken_disk.setattr(Spool, "__len__", fail_spool)
        assert not recorder.flush(0.2)
    assert "an unknown number unsent in total" in caplog.text
    service.start()
    assert recorder.flush()
    assert sorted(service.ids) == sorted(ids)
