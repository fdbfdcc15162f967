"""The events that a recorder accepts, and how they arrive."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.recorder.helpers import MakeRecorder, Rejections, memory_and_spool, record
from tests.recorder.service import KEY, Service
from usage_recorder import UsageRecorder


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


def test_id_and_time_are_those_of_recording_not_of_sending(service: Service, make: MakeRecorder) -> None:
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


@memory_and_spool
def test_when_a_job_is_run_again_it_records_the_same_event(
    service: Service, make: MakeRecorder, tmp_path: Path, spooled: bool
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


def test_occurred_at_is_part_of_the_event(service: Service, make: MakeRecorder) -> None:
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
def test_an_invalid_id_is_refused(recorder: UsageRecorder, name: str, wrong: Any) -> None:
    ids = {"event_id": "e1", "user_id": "user-1", "subscription_id": "sub-1", "usage_type": "report"}
    for call in (recorder.record, recorder.record_now):
        with pytest.raises(ValueError, match=f"{name} must be"):
            call(**(ids | {name: wrong}), quantity=1)
    assert recorder.unsent == 0


def test_a_quantity_is_required(recorder: UsageRecorder) -> None:
    """A forgotten quantity must not be billed as 1."""
    for call in (recorder.record, recorder.record_now):
        with pytest.raises(TypeError, match="quantity"):
            call("user-1", "sub-1", "report")  # type: ignore[call-arg]


def test_when_metadata_changes_after_recording_the_event_does_not(service: Service, recorder: UsageRecorder) -> None:
    metadata = {"state": "then"}
    recorder.record("user-1", "sub-1", "report", 1, metadata, event_id="e1")
    metadata["state"] = "now"
    assert recorder.flush()
    assert service.events["sub-1", "e1"]["metadata"] == {"state": "then"}


def test_a_token_function_is_called_for_every_request(service: Service, make: MakeRecorder) -> None:
    tokens = iter(["stale", "fresh"])
    service.token = "fresh"
    recorder = make(token=lambda: next(tokens))
    record(recorder)
    assert recorder.flush()
    assert [each["authorization"] for each in service.headers] == ["Bearer stale", "Bearer fresh"]


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
def test_invalid_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        UsageRecorder(**({"url": "http://service", "api_key": KEY} | wrong))
