"""The recorder and the handlers themselves: what one says the others understand."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from tests import ledgers
from tests.api import Api, bearer
from tests.cloud import API_KEY
from tests.integration.test_queue import consume, received
from usage_billing.platform import memory
from usage_billing.usage import hot_ledgers
from usage_recorder import NotAcknowledged, Pauses, UsageRecorder, UsageRejected

At = Callable[[str], None]
Make = Callable[..., UsageRecorder]
PATIENT = Pauses(first=0.001, longest=0.01, postponed_first=600)


@pytest.fixture
def make(ready: Api) -> Iterator[Make]:
    """Makes recorders whose requests are handled in this process. Nothing else is done meanwhile."""
    made: list[UsageRecorder] = []

    def handled(request: httpx.Request) -> httpx.Response:
        answer = ready.post(request.url.path, raw=request.read().decode(), headers=dict(request.headers))
        return httpx.Response(answer.status, headers=answer.headers, text=answer.text)

    def recorder(**settings: object) -> UsageRecorder:
        def client() -> httpx.Client:
            return httpx.Client(transport=httpx.MockTransport(handled))

        credentials = {} if "token" in settings else {"api_key": API_KEY}
        made.append(UsageRecorder("http://usage.test", http=client, pauses=PATIENT, **credentials | settings))
        return made[-1]

    yield recorder
    for each in made:
        each.close(timeout=0)


def run_job(recorder: UsageRecorder, **more: object) -> str:
    """The same call each time, as of a job that is delivered again."""
    return recorder.record_now("user-1", "sub-1", "assessment", 60, {"job": 1}, event_id="job-1", **more).status


def test_a_job_that_is_run_again_is_recorded_once(make: Make) -> None:
    recorder = make()
    assert [run_job(recorder) for _ in range(3)] == ["recorded", "replayed", "replayed"]
    for _ in range(2):
        recorder.record("user-1", "sub-1", "assessment", 60, {"job": 1}, event_id="job-1")
    assert recorder.flush()
    assert recorder.parked() == []
    [ledger] = ledgers.check()
    assert ledger.head["used"] == 60


def test_what_is_spooled_before_the_turn_of_a_period_and_sent_after_it_belongs_before_it(
    make: Make, ready: Api, at: At, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And it may take the queue, and the job may be run again: then it is a replay."""
    now = datetime.now(UTC)
    ready.subscribe(billingAnchorDay=min(28, (now + timedelta(days=1)).day))
    waiting = make(spool=tmp_path / "spool", linger=60)
    waiting.record("user-1", "sub-1", "assessment", 60, {"job": 1}, event_id="job-1")
    at((now + timedelta(days=40)).isoformat())
    with monkeypatch.context() as crowded:
        crowded.setattr(hot_ledgers, "is_hot", lambda _: True)
        assert waiting.flush()
    assert consume(received()) == []
    [ledger] = ledgers.check()
    assert now <= datetime.fromisoformat(ledger.entries[0]["occurred_at"]) <= datetime.now(UTC)
    assert run_job(make()) == "replayed"
    assert len(ledgers.check()) == 1


def test_a_time_of_the_work_that_differs_is_a_conflict_and_parked(make: Make) -> None:
    recorder, when = make(), datetime.now(UTC)
    assert run_job(recorder, occurred_at=when) == "recorded"
    assert run_job(recorder) == "replayed"
    with pytest.raises(UsageRejected):
        run_job(recorder, occurred_at=when - timedelta(seconds=1))
    [parked] = recorder.parked()
    assert (parked.problem.code, parked.retry_at) == ("event_id_conflict", None)


def test_usage_that_comes_before_its_subscription_is_recorded_when_that_is_there(make: Make, ready: Api) -> None:
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


def test_a_clock_that_runs_fast_loses_nothing(make: Make, at: At) -> None:
    recorder = make()
    now = datetime.now(UTC)
    services = now.replace(microsecond=0) - timedelta(days=40)
    at(services.isoformat())
    assert run_job(recorder) == "recorded"
    [ledger] = ledgers.check()
    assert datetime.fromisoformat(ledger.entries[0]["occurred_at"]) == services


def test_a_time_of_the_work_ahead_of_the_service_is_retried_until_it_is_not(make: Make, at: At) -> None:
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


def test_a_clock_that_was_never_set_loses_nothing(make: Make, at: At) -> None:
    """Its report is refused as too old. Once the clock is right a retry says when it is made."""
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


def test_what_is_too_old_waits_for_a_person(make: Make) -> None:
    recorder = make()
    with pytest.raises(UsageRejected, match="occurredAt"):
        run_job(recorder, occurred_at=datetime.now(UTC) - timedelta(days=367))
    [parked] = recorder.parked()
    assert parked.retry_at is None


def test_a_customers_event_for_a_subscription_that_is_not_there_waits_for_a_person(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are not told whether it exists, so there is nothing to wait for."""
    monkeypatch.setenv("CUSTOMERS_MAY_RECORD", "true")
    memory.forget()
    recorder = make(token=bearer("user-1")["authorization"].removeprefix("Bearer "))
    with pytest.raises(UsageRejected, match="403 forbidden"):
        recorder.record_now("user-1", "sub-9", "assessment", 1)
    [parked] = recorder.parked()
    assert parked.retry_at is None


def test_a_customer_records_under_an_id_that_the_service_makes(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUSTOMERS_MAY_RECORD", "true")
    memory.forget()
    recorder = make(token=bearer("user-1")["authorization"].removeprefix("Bearer "))
    assert [run_job(recorder) for _ in range(2)] == ["recorded", "replayed"]
    [ledger] = ledgers.check()
    assert ledger.entries[0]["event_id"] == "customer:job-1"
