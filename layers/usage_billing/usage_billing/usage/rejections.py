"""Count and log rejected events: in total and by code, with their ids, and never with their content.

Customers' events are counted by code only. An alarm watches the total, because it means that a service loses usage. A
customer could keep that alarm active, and sees the rejection anyway.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from usage_billing.access.callers import Caller
from usage_billing.kernel.identifiers import EVENT_ID_PATTERN, IDENTIFIER_PATTERN
from usage_billing.platform.log_events import LogEvent
from usage_billing.platform.observability import count_rejected, logger

MAX_EVENTS_PER_LINE = 100
"""Maximum events in a line of the log. Ids take up to 256 bytes per event, and CloudWatch truncates at 256 KB."""

MAX_EVENTS_LOGGED = 1000
"""Maximum events with one code that a request logs. A batch has fewer, unless it is rejected for its size."""

_EVENT_ID = re.compile(EVENT_ID_PATTERN)
_IDENTIFIER = re.compile(IDENTIFIER_PATTERN)


@dataclass(frozen=True, slots=True)
class EventIds:
    """The ids in a report, each None unless it is valid. `event_id` is the id under which the event is recorded."""

    event_id: str | None
    subscription_id: str | None


NO_IDS = EventIds(None, None)


def ids_of(report: object, caller: Caller | None, idempotency_key: str | None = None) -> EventIds:
    """Return the valid ids in a report, whatever else is wrong with it. Valid ids are short and printable."""
    fields = report if isinstance(report, dict) else {}
    event_id = _valid(_EVENT_ID, fields.get("eventId")) or _valid(_EVENT_ID, idempotency_key)
    if event_id and caller:
        event_id = caller.event_id(event_id)
    return EventIds(event_id, _valid(_IDENTIFIER, fields.get("subscriptionId")))


def _valid(pattern: re.Pattern[str], value: object) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) else None


def note(rejections: Iterable[tuple[EventIds, str]], caller: Caller | None) -> None:
    """Count the rejected events of a batch, and log their ids, grouped by code."""
    by_code: dict[str, list[EventIds]] = {}
    for ids, code in rejections:
        by_code.setdefault(code, []).append(ids)
    for code, events in by_code.items():
        _count(code, len(events), caller)
        logged = events[:MAX_EVENTS_LOGGED]
        for start in range(0, len(logged), MAX_EVENTS_PER_LINE):
            _log(code, logged[start : start + MAX_EVENTS_PER_LINE])
        if rest := len(events) - len(logged):
            logger.warning(LogEvent.EVENTS_REJECTED, code=code, events=rest, rejected=[])


def note_request(code: str, body: object, caller: Caller | None, idempotency_key: str | None) -> dict[str, str | None]:
    """Count the events of a request that is rejected as a whole. Return the ids for the log line of the request.

    `body` is a report or a batch, or None if it was not read. The events of a batch are logged here.
    """
    reports = body.get("events") if isinstance(body, dict) else None
    if isinstance(reports, list):
        note([(ids_of(each, caller), code) for each in reports], caller)
        return asdict(NO_IDS)
    _count(code, 1, caller)
    return asdict(ids_of(body, caller, idempotency_key))


def _count(code: str, events: int, caller: Caller | None) -> None:
    count_rejected(code, events, in_total=caller is None or not caller.is_customer)


def _log(code: str, events: Sequence[EventIds]) -> None:
    rows = [{"event_id": each.event_id, "subscription_id": each.subscription_id} for each in events]
    logger.warning(LogEvent.EVENTS_REJECTED, code=code, events=len(rows), rejected=rows)
