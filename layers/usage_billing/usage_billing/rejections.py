"""Refused events, made visible: counted in total and by code, and logged with their ids, never with their content."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from usage_billing.observability import logger, rejected
from usage_billing.values import EVENT_ID_PATTERN, IDENTIFIER_PATTERN

MAX_EVENTS_PER_LINE = 100
"""Ids take at most 256 bytes an event, and CloudWatch cuts a line off at 256 KB."""

_EVENT_ID = re.compile(EVENT_ID_PATTERN)
_IDENTIFIER = re.compile(IDENTIFIER_PATTERN)


@dataclass(frozen=True, slots=True)
class EventIds:
    """The ids of a report, each None unless it is a valid id."""

    event_id: str | None
    subscription_id: str | None


def ids_of(report: object, idempotency_key: str | None = None) -> EventIds:
    """Return the ids that a report claims, whatever else is wrong with it. Valid ids are short and legible."""
    claims = report if isinstance(report, dict) else {}
    event_id = _valid(_EVENT_ID, claims.get("eventId")) or _valid(_EVENT_ID, idempotency_key)
    return EventIds(event_id, _valid(_IDENTIFIER, claims.get("subscriptionId")))


def _valid(pattern: re.Pattern[str], value: object) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) else None


def note(rejections: Iterable[tuple[EventIds, str]]) -> None:
    """Count the rejected events of a batch, and log them by their codes: all ids, on few lines."""
    alike: dict[str, list[EventIds]] = {}
    for ids, code in rejections:
        alike.setdefault(code, []).append(ids)
    for code, events in alike.items():
        rejected(code, len(events))
        for start in range(0, len(events), MAX_EVENTS_PER_LINE):
            _log(code, events[start : start + MAX_EVENTS_PER_LINE])


def _log(code: str, events: Sequence[EventIds]) -> None:
    rows = [{"event_id": each.event_id, "subscription_id": each.subscription_id} for each in events]
    logger.warning("events rejected", code=code, events=len(rows), rejected=rows)
