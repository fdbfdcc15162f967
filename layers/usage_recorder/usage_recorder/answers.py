"""What the service's answers mean for each event that was sent. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any

from usage_recorder.events import CUSTOMER_PREFIX

ACKNOWLEDGED = frozenset({"recorded", "replayed", "queued"})
LONGEST_RETRY_AFTER = 600.0
"""Seconds. A date by a wrong clock must not silence a recorder for ever."""

_TRANSIENT = frozenset({408, 425, 429})
_REFUSED_FOR_CONTENT = frozenset({400, 413, 422})


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something was refused: HTTP status, the service's stable code, a sentence, and what is wrong by field.

    `status` is 0 where the service did not say it: code `not_sent`.
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
        return _problem(json.loads(text), 0)

    def __str__(self) -> str:
        fields = "".join(f"; {each.get('field')}: {each.get('message')}" for each in self.errors)
        return f"{self.status} {self.code}: {self.detail}{fields}"


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The service has the event: `status` is recorded, replayed (it had it already) or queued (it will record it).

    `record` is what recording a single event answers, with sequence and quota; None when queued.
    """

    event_id: str
    status: str
    record: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """The service refused the event, and sending it again as it is would change nothing."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class Postponed:
    """The service refused the event for a cause that may pass; it is retried at `retry_at`, in seconds since 1970."""

    problem: Problem
    retry_at: float


@dataclass(frozen=True, slots=True)
class Retry:
    """The event has to be sent again, `after` seconds or later. `operator`: only a person can mend the cause."""

    reason: str
    after: float = 0.0
    operator: bool = False


Outcome = Acknowledged | Rejected | Postponed | Retry


class Refused(Exception):
    """The body as a whole was refused for what is in it, perhaps for one of its events."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def outcomes(
    status: int, headers: Mapping[str, str], content: bytes, event_ids: Sequence[str], now: datetime
) -> list[Outcome]:
    """What became of each of `event_ids`, in their order.

    Raises:
        Refused: the batch has to be sent in parts, or its one event is rejected.
    """
    after = retry_after(headers, now)
    if 200 <= status < 300:
        return _of_events(content, event_ids, after)
    problem = _problem_in(status, content)
    if status in _TRANSIENT or status >= 500:
        return [Retry(str(problem), after)] * len(event_ids)
    if status in _REFUSED_FOR_CONTENT:
        raise Refused(problem)
    # Wrong credentials, a wrong URL: no fault of the events, which must not be lost by it.
    return [Retry(str(problem), after, operator=True)] * len(event_ids)


def retry_after(headers: Mapping[str, str], now: datetime) -> float:
    """Seconds to wait, from a number of seconds or a date; 0 where neither is said."""
    said = headers.get("retry-after", "").strip()
    if said.isascii() and said.isdigit():
        return min(LONGEST_RETRY_AFTER, float(said[:9]))
    try:
        moment = parsedate_to_datetime(said)
    except ValueError:
        return 0.0
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(LONGEST_RETRY_AFTER, max(0.0, (aware - now).total_seconds()))


def _of_events(content: bytes, event_ids: Sequence[str], after: float) -> list[Outcome]:
    results = _json_object(content).get("results")
    if not isinstance(results, list) or len(results) != len(event_ids):
        return [Retry("the answer is incomplete", after)] * len(event_ids)
    return [_of_event(result, event_id, after) for result, event_id in zip(results, event_ids, strict=True)]


def _of_event(result: Any, event_id: str, after: float) -> Outcome:
    """An answer that is not understood settles nothing: sending an event again does no harm."""
    # The id of an event that is refused for its id may be null.
    if not isinstance(result, dict) or result.get("eventId") not in (event_id, CUSTOMER_PREFIX + event_id, None):
        return Retry("the answer is about another event", after)
    status = result.get("status")
    if status in ACKNOWLEDGED:
        record = result.get("record")
        return Acknowledged(event_id, status, record if isinstance(record, dict) else None)
    if status != "rejected" or not isinstance(result.get("problem"), dict):
        return Retry(f"the answer's status {status!r} is not known", after)
    problem = _problem(result["problem"], 0)
    if problem.status in _TRANSIENT or not 400 <= problem.status < 500:
        return Retry(str(problem), after)
    return Rejected(problem)


def _problem_in(status: int, content: bytes) -> Problem:
    return _problem(_json_object(content) | {"status": status}, status)


def _problem(fields: Mapping[str, Any], status: int) -> Problem:
    found = fields.get("status", status)
    errors = fields.get("errors")
    return Problem(
        status=found if isinstance(found, int) else status,
        code=str(fields.get("code", "unknown")),
        detail=str(fields.get("detail", "")),
        errors=tuple(each for each in errors if isinstance(each, dict)) if isinstance(errors, list) else (),
    )


def _json_object(content: bytes) -> dict[str, Any]:
    """`content` as an object; an empty one if it is anything else, such as a gateway's HTML or half an answer."""
    try:
        value = json.loads(content, parse_float=Decimal)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
