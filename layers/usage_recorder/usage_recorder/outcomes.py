"""Outcomes: what became of an event that was sent. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """The reason for a refusal: HTTP status, the service's stable code, a sentence, and the errors by field.

    `status` is 0 if the problem does not come from the service: code `not_sent`.
    """

    status: int
    code: str
    detail: str
    errors: tuple[Mapping[str, str], ...] = ()

    def to_json(self) -> str:
        return json.dumps(
            {"status": self.status, "code": self.code, "detail": self.detail, "errors": list(map(dict, self.errors))},
            default=str,
        )

    @classmethod
    def from_json(cls, text: str) -> "Problem":
        """The inverse of `to_json`."""
        return problem_from(json.loads(text))

    def __str__(self) -> str:
        fields = "".join(f"; {each.get('field')}: {each.get('message')}" for each in self.errors)
        return f"{self.status} {self.code}: {self.detail}{fields}"


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The service has the event: `status` is recorded, replayed (it had it already) or queued (it will record it).

    `record` is the response to recording a single event, with sequence and quota; None when queued.
    """

    event_id: str
    status: str
    record: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """The service refused the event. Sending it again unchanged would not help."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class Postponed:
    """The service refused the event for a cause that may go away; retried at `retry_at`, in seconds since 1970."""

    problem: Problem
    retry_at: float


@dataclass(frozen=True, slots=True)
class Retry:
    """The event has to be sent again, after `after` seconds or later.

    `operator`: a person has to fix the cause, such as wrong credentials.
    """

    reason: str
    after: float = 0.0
    operator: bool = False


Outcome = Acknowledged | Rejected | Postponed | Retry


def problem_from(fields: Mapping[str, Any], status: int = 0) -> Problem:
    """Read a problem leniently: unknown fields are ignored, and `status` is used if it has none."""
    found = fields.get("status", status)
    errors = fields.get("errors")
    return Problem(
        status=found if isinstance(found, int) else status,
        code=str(fields.get("code", "unknown")),
        detail=str(fields.get("detail", "")),
        errors=tuple(each for each in errors if isinstance(each, dict)) if isinstance(errors, list) else (),
    )
