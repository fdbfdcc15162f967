"""Parameters of paths, queries and headers."""

import re
from datetime import datetime
from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Header, Path, Query
from pydantic import BeforeValidator, WithJsonSchema

from usage_billing.kernel.identifiers import (
    CODE_PATTERN,
    INVOICE_ID_PATTERN,
    RUN_ID_PATTERN,
    EventId,
    Identifier,
    RecordedEventId,
)

PathIdentifier = Annotated[Identifier, Path()]
PathInvoiceId = Annotated[str, Path(pattern=INVOICE_ID_PATTERN)]
PathRunId = Annotated[str, Path(pattern=RUN_ID_PATTERN)]
QueriedSubscription = Annotated[Identifier, Query(alias="subscriptionId")]
QueriedUsageType = Annotated[Identifier | None, Query(alias="usageType")]
QueriedCode = Annotated[str | None, Query(alias="code", pattern=CODE_PATTERN, description="a reason")]
NarrowingSubscription = Annotated[Identifier | None, Query(alias="subscriptionId")]
QueriedEventId = Annotated[RecordedEventId | None, Query(alias="eventId")]
PathEventId = Annotated[RecordedEventId, Path(description="percent-encoded; twice if it holds a `?`")]
PageSize = Annotated[int, Query(ge=1, le=100, description="how many at most")]
Cursor = Annotated[str | None, Query(max_length=1024, description="the nextCursor of the previous page")]


def _noon(text: object) -> datetime | None:
    """A day as an instant of it. Every period turns at midnight UTC, so any instant of the day will do."""
    try:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", str(text)):  # strptime takes less care
            raise ValueError
        day = datetime.strptime(f"{text} 12+0000", "%Y-%m-%d %H%z")
        if not 2000 <= day.year <= 9998:
            raise ValueError
    except ValueError:
        raise ValueError("must be a day such as 2026-11-01, from the year 2000 on") from None
    return day


Day = Annotated[
    datetime | None,
    BeforeValidator(_noon),
    WithJsonSchema({"type": "string", "format": "date", "pattern": r"^(?!9999)[2-9][0-9]{3}-[0-9]{2}-[0-9]{2}$"}),
    Query(description="a day; the period that holds it is meant, without it the current one"),
]


def _respond_async(text: str | None) -> bool:
    """RFC 7240: preferences are separated by commas, their parameters by semicolons; unknown ones are ignored."""
    names = [preference.partition(";")[0].strip().lower() for preference in (text or "").split(",")]
    return "respond-async" in names


IdempotencyKey = Annotated[EventId | None, Header(alias="Idempotency-Key")]

PrefersAsync = Annotated[
    bool,
    BeforeValidator(_respond_async),
    WithJsonSchema({"type": "string"}),
    Header(alias="Prefer", description="respond-async: put into the queue and answer at once"),
]
