"""Refused events, made visible: counted in total and by code, and logged with their ids, never with their content.

Those of customers are counted by code only. The total has an alarm, which means that a service loses usage: whoever
has a token could keep it active, and what is refused to a customer is answered to whoever can correct it.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from usage_billing.access.callers import Caller
from usage_billing.kernel.identifiers import EVENT_ID_PATTERN, IDENTIFIER_PATTERN
from usage_billing.platform.log_events import LogEvent
from usage_billing.platform.observability import count_rejected, logger

MAX_EVENTS_PER_LINE = 100
"""Ids take at most 256 bytes an event, and CloudWatch cuts a line off at 256 KB."""

MAX_EVENTS_LOGGED = 1000
"""Maximum events with one code that a request logs. A batch has half as many, unless it is refused for its size."""

_EVENT_ID = re.compile(EVENT_ID_PATTERN)
_IDENTIFIER = re.compile(IDENTIFIER_PATTERN)


@dataclass(frozen=True, slots=True)
class EventIds:
    """The ids of a report, each None unless it is a valid id. `event_id` is the one that it is recorded under."""

    event_id: str | None
    subscription_id: str | None


NO_IDS = EventIds(None, None)


def ids_of(report: object, caller: Caller | None, idempotency_key: str | None = None) -> EventIds:
    """Return the ids that a report claims, whatever else is wrong with it. Valid ids are short and legible."""
    claims = report if isinstance(report, dict) else {}
    event_id = _valid(_EVENT_ID, claims.get("eventId")) or _valid(_EVENT_ID, idempotency_key)
    if event_id and caller:
        event_id = caller.event_id(event_id)
    return EventIds(event_id, _valid(_IDENTIFIER, claims.get("subscriptionId")))


def _valid(pattern: re.Pattern[str], value: object) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) else None


def note(rejections: Iterable[tuple[EventIds, str]], caller: Caller | None) -> None:
    """Count the rejected events of a batch, and log them by their codes: their ids, on few lines."""
    alike: dict[str, list[EventIds]] = {}
    for ids, code in rejections:
        alike.setdefault(code, []).append(ids)
    for code, events in alike.items():
        _count(code, len(events), caller)
        logged = events[:MAX_EVENTS_LOGGED]
        for start in range(0, len(logged), MAX_EVENTS_PER_LINE):
            _log(code, logged[start : start + MAX_EVENTS_PER_LINE])
        if rest := len(events) - len(logged):
            logger.warning(LogEvent.EVENTS_REJECTED, code=code, events=rest, rejected=[])


def note_request(code: str, body: object, caller: Caller | None, idempotency_key: str | None) -> dict[str, str | None]:
    """Count the events of a request that is refused whole. Return the ids for the request's own line in the log.

    `body` is a report or a batch, or None where it was not read. The events of a batch are logged here.
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
