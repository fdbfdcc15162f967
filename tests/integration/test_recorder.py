"""The recorder with the real handlers, in one process."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import ledgers
from tests.api import Api, bearer
from tests.clocks import At
from tests.cloud import API_KEY
from tests.queue import consume, take_messages
from usage_billing.platform import caches
from usage_billing.usage import hot_ledgers
from usage_recorder import NotAcknowledged, Pauses, UsageRecorder, UsageRejected

MakeRecorder = Callable[..., UsageRecorder]
PATIENT = Pauses(first=0.001, longest=0.01, postponed_first=600)


@pytest.fixture
def make(ready: Api) -> Iterator[MakeRecorder]:
    """A function that makes recorders whose requests are handled in this process, one at a time."""
    made: list[UsageRecorder] = []

    def handle(request: httpx.Request) -> httpx.Response:
        response = ready.post(request.url.path, raw=request.read().decode(), headers=dict(request.headers))
        return httpx.Response(response.status, headers=response.headers, text=response.text)

    def recorder(**settings: Any) -> UsageRecorder:
        def client() -> httpx.Client:
            return httpx.Client(transport=httpx.MockTransport(handle))

        credentials = {} if "token" in settings else {"api_key": API_KEY}
        made.append(UsageRecorder("http://usage.test", http=client, pauses=PATIENT, **(credentials | settings)))
        return made[-1]

    yield recorder
    for each in made:
        each.close(timeout=0)


def run_job(recorder: UsageRecorder, **more: Any) -> str:
    """Make the same call each time, like a job that is run again; return the status."""
    return recorder.record_now("user-1", "sub-1", "assessment", 60, {"job": 1}, event_id="job-1", **more).status


def test_when_a_job_is_run_again_it_is_recorded_once(make: MakeRecorder) -> None:
    recorder = make()
    assert [run_job(recorder) for _ in range(3)] == ["recorded", "replayed", "replayed"]
    for _ in range(2):
        recorder.record("user-1", "sub-1", "assessment", 60, {"job": 1}, event_id="job-1")
    assert recorder.flush()
    assert recorder.parked() == []
    [ledger] = ledgers.check()
    assert ledger.head["used"] == 60


def test_usage_spooled_before_the_end_of_a_period_and_sent_after_it_is_billed_in_that_period(
    make: MakeRecorder, ready: Api, at: At, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Even if it goes through the queue. When the job is run again, that is a replay."""
    now = datetime.now(UTC)
    ready.subscribe(billingAnchorDay=min(28, (now + timedelta(days=1)).day))
    waiting = make(spool=tmp_path / "spool", linger=60)
    waiting.record("user-1", "sub-1", "assessment", 60, {"job": 1}, event_id="job-1")
    at((now + timedelta(days=40)).isoformat())
    with monkeypatch.context() as crowded:
        crowded.setattr(hot_ledgers, "is_hot", lambda _: True)
        assert waiting.flush()
    assert consume(take_messages()) == []
    [ledger] = ledgers.check()
    assert now <= datetime.fromisoformat(ledger.entries[0]["occurred_at"]) <= datetime.now(UTC)
    assert run_job(make()) == "replayed"
    assert len(ledgers.check()) == 1


def test_another_occurred_at_is_a_conflict_and_parked(make: MakeRecorder) -> None:
    recorder, when = make(), datetime.now(UTC)
    assert run_job(recorder, occurred_at=when) == "recorded"
    assert run_job(recorder) == "replayed"
    with pytest.raises(UsageRejected):
        run_job(recorder, occurred_at=when - timedelta(seconds=1))
    [parked] = recorder.parked()
    assert (parked.problem.code, parked.retry_at) == ("event_id_conflict", None)


def test_usage_reported_before_its_subscription_exists_is_recorded_once_it_does(make: MakeRecorder, ready: Api) -> None:
    recorder = make()
    with pytest.raises(NotAcknowledged, match="subscription_not_found"):
        recorder.record_now("user-9", "sub-9", "assessment", 1)
    [parked] = recorder.parked()
    assert parked.retry_at is not None
    ready.subscribe("sub-9", "user-9")
    assert recorder.retry_parked() == 1
    assert recorder.flush()
    [ledger] = ledgers.check()
    assert (ledger.head["subscription_id"], ledger.entries[0]["event_id"]) == ("sub-9", parked.event.event_id)


def test_when_the_recorders_clock_is_fast_no_event_is_lost(make: MakeRecorder, at: At) -> None:
    recorder = make()
    now = datetime.now(UTC)
    service_time = now.replace(microsecond=0) - timedelta(days=40)
    at(service_time.isoformat())
    assert run_job(recorder) == "recorded"
    [ledger] = ledgers.check()
    assert datetime.fromisoformat(ledger.entries[0]["occurred_at"]) == service_time


def test_usage_ahead_of_the_services_clock_is_retried_until_it_is_not(make: MakeRecorder, at: At) -> None:
    recorder, now = make(), datetime.now(UTC)
    at((now - timedelta(hours=1)).isoformat())
    with pytest.raises(NotAcknowledged, match="occurredAt"):
        run_job(recorder, occurred_at=now)
    [parked] = recorder.parked()
    assert parked.retry_at is not None
    at((now - timedelta(minutes=14)).isoformat())
    assert recorder.retry_parked() == 1
    assert recorder.flush()
    [ledger] = ledgers.check()
    assert datetime.fromisoformat(ledger.entries[0]["occurred_at"]) == now


def test_when_the_recorders_clock_was_never_set_no_event_is_lost(make: MakeRecorder, at: At) -> None:
    """The report is refused as too old. Once the clock is right, a retry reports the current time."""
    recorder, now = make(), datetime.now(UTC).replace(microsecond=0)
    at((now + timedelta(days=367)).isoformat())
    with pytest.raises(UsageRejected, match="reportedAt"):
        run_job(recorder)
    [parked] = recorder.parked()
    assert parked.retry_at is None
    at((now + timedelta(days=1)).isoformat())
    before = datetime.now(UTC)
    assert recorder.retry_parked() == 1
    assert recorder.flush()
    [ledger] = ledgers.check()
    assert datetime.fromisoformat(ledger.entries[0]["occurred_at"]) >= before


def test_usage_that_is_too_old_is_parked_without_an_automatic_retry(make: MakeRecorder) -> None:
    recorder = make()
    with pytest.raises(UsageRejected, match="occurredAt"):
        run_job(recorder, occurred_at=datetime.now(UTC) - timedelta(days=367))
    [parked] = recorder.parked()
    assert parked.retry_at is None


def test_a_customers_event_for_an_unknown_subscription_is_parked_without_an_automatic_retry(
    make: MakeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service does not tell customers whether a subscription exists, so there is nothing to wait for."""
    monkeypatch.setenv("CUSTOMERS_MAY_RECORD", "true")
    caches.clear_all()
    recorder = make(token=bearer("user-1")["authorization"].removeprefix("Bearer "))
    with pytest.raises(UsageRejected, match="403 forbidden"):
        recorder.record_now("user-1", "sub-9", "assessment", 1)
    [parked] = recorder.parked()
    assert parked.retry_at is None


def test_a_customers_event_is_recorded_under_a_prefixed_id(make: MakeRecorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUSTOMERS_MAY_RECORD", "true")
    caches.clear_all()
    recorder = make(token=bearer("user-1")["authorization"].removeprefix("Bearer "))
    assert [run_job(recorder) for _ in range(2)] == ["recorded", "replayed"]
    [ledger] = ledgers.check()
    assert ledger.entries[0]["event_id"] == "customer:job-1"
