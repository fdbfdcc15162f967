"""Responses: what each response of the service means for the events that were sent. Pure."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any

from usage_recorder.outcomes import Acknowledged, Outcome, Problem, Rejected, Retry, problem_from
from usage_recorder.validation import CUSTOMER_PREFIX

ACKNOWLEDGED = frozenset({"recorded", "replayed", "queued"})
MAX_RETRY_AFTER_SECONDS = 600.0
"""Upper bound for Retry-After: a date from a wrong clock must not stop a recorder forever."""

_TRANSIENT = frozenset({408, 425, 429})
_REFUSED_FOR_CONTENT = frozenset({400, 413, 422})


class BatchRefused(Exception):
    """The service refused the whole body for its content, perhaps because of a single event."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def read_response(
    status: int, headers: Mapping[str, str], content: bytes, event_ids: Sequence[str], now: datetime
) -> list[Outcome]:
    """Return the outcome of each event in `event_ids`, in the same order.

    Raises:
        BatchRefused: the batch has to be sent in parts; or, if it is a single event, that event is rejected.
    """
    after = retry_after(headers, now)
    if 200 <= status < 300:
        return _read_results(content, event_ids, after)
    problem = problem_from(_json_object(content) | {"status": status}, status)
    if status in _TRANSIENT or status >= 500:
        return [Retry(str(problem), after)] * len(event_ids)
    if status in _REFUSED_FOR_CONTENT:
        raise BatchRefused(problem)
    # Wrong credentials or a wrong URL: the events are fine and must not be lost.
    return [Retry(str(problem), after, operator=True)] * len(event_ids)


def retry_after(headers: Mapping[str, str], now: datetime) -> float:
    """Return the seconds to wait, given as a number of seconds or as a date; 0 if the header is missing or invalid."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(MAX_RETRY_AFTER_SECONDS, float(value[:9]))
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(MAX_RETRY_AFTER_SECONDS, max(0.0, (aware - now).total_seconds()))


def _read_results(content: bytes, event_ids: Sequence[str], after: float) -> list[Outcome]:
    results = _json_object(content).get("results")
    if not isinstance(results, list) or len(results) != len(event_ids):
        return [Retry("the response is incomplete", after)] * len(event_ids)
    return [_read_result(result, event_id, after) for result, event_id in zip(results, event_ids, strict=True)]


def _read_result(result: Any, event_id: str, after: float) -> Outcome:
    """Return the outcome of one event. An unclear result means Retry: sending an event again does no harm."""
    # The id is null if the event was refused because of its id.
    if not isinstance(result, dict) or result.get("eventId") not in (event_id, CUSTOMER_PREFIX + event_id, None):
        return Retry("the response is about another event", after)
    status = result.get("status")
    if status in ACKNOWLEDGED:
        record = result.get("record")
        return Acknowledged(event_id, status, record if isinstance(record, dict) else None)
    if status != "rejected" or not isinstance(result.get("problem"), dict):
        return Retry(f"the response has an unknown status: {status!r}", after)
    problem = problem_from(result["problem"])
    if problem.status in _TRANSIENT or not 400 <= problem.status < 500:
        return Retry(str(problem), after)
    return Rejected(problem)


def _json_object(content: bytes) -> dict[str, Any]:
    """Return `content` as an object; an empty one if it is anything else, such as HTML or truncated JSON."""
    try:
        value = json.loads(content, parse_float=Decimal)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
