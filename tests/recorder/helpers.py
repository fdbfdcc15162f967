"""Settings, calls and checks that many tests of the recorder share."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NoReturn

import pytest

from tests.recorder.service import Service
from usage_recorder import Pauses, Problem, SpoolFailed, UsageEvent, UsageRecorder

MakeRecorder = Callable[..., UsageRecorder]

QUICK = Pauses(first=0.001, longest=0.01, operator=0.002)
SLOW = Pauses(first=60, longest=60, operator=60)
# These two retry quickly, and differ in how soon they retry postponed events.
IMPATIENT = Pauses(first=0.001, longest=0.01, operator=0.002, postponed_first=0.02, postponed_longest=0.05)
PATIENT = Pauses(first=0.001, longest=0.01, operator=0.002, postponed_first=600)

memory_and_spool = pytest.mark.parametrize("spooled", [False, True], ids=["memory", "spool"])


def record(recorder: UsageRecorder, number: int = 1, **more: Any) -> list[str]:
    """Record a number of events and return their ids."""
    return [recorder.record("user-1", "sub-1", "report", **({"quantity": 1} | more)) for _ in range(number)]


NOW = datetime(2026, 11, 20, 12, 0, 0, 250_000, tzinfo=UTC)


def event(**fields: Any) -> UsageEvent:
    """Return an event of `NOW`; `fields` replace its fields."""
    defaults: dict[str, Any] = {
        "event_id": "e1",
        "user_id": "user-1",
        "subscription_id": "sub-1",
        "usage_type": "report",
        "quantity": Decimal(1),
        "occurred_at": NOW,
        "metadata": {},
    }
    return UsageEvent(**(defaults | fields))


def parked_ids(recorder: UsageRecorder) -> list[str]:
    return [each.event.event_id for each in recorder.parked()]


def wait_until(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.005)


def fail_spool(*_: object) -> NoReturn:
    """Replace a method of `Spool` with one that fails."""
    raise SpoolFailed("the disk is gone")


class Rejections(list[tuple[str, str]]):
    """The event id and the problem's code of each call of `on_rejected`."""

    def __call__(self, event: UsageEvent, problem: Problem) -> None:
        self.append((event.event_id, problem.code))


# --- Refusals ------------------------------------------------------------------------------------


def problem(status: int, code: str = "a_code") -> dict[str, Any]:
    return {"status": status, "code": code, "detail": "why"}


_OUT_OF_RANGE = {"code": "out_of_range", "message": "m"}
NOT_FOUND = problem(404, "subscription_not_found")
INACTIVE = problem(409, "subscription_inactive")
AHEAD = problem(422, "validation_error") | {"errors": [{"field": "occurredAt"} | _OUT_OF_RANGE]}
REPORTED_LONG_AGO = problem(422, "validation_error") | {"errors": [{"field": "reportedAt"} | _OUT_OF_RANGE]}


def refuse(service: Service, *event_ids: str, because: dict[str, Any] = INACTIVE) -> None:
    """Make the service refuse these events and accept all others."""
    service.judge = lambda event: because if event["eventId"] in event_ids else None


def accept(service: Service) -> None:
    """Make the service accept all events."""
    service.judge = lambda _: None
