"""Types of parameters in paths, queries and headers."""

import re
from datetime import datetime
from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Header, Path, Query
from pydantic import BeforeValidator, WithJsonSchema

from usage_billing.kernel.fields import Bound
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
PathEventId = Annotated[RecordedEventId, Path(description="percent-encoded; encode it twice if it contains a `?`")]
PathEffectiveFrom = Annotated[Bound, Path(description="the instant from which the version is in force")]
PathRunId = Annotated[str, Path(pattern=RUN_ID_PATTERN)]
QuerySubscriptionId = Annotated[Identifier, Query(alias="subscriptionId")]
UsageTypeFilter = Annotated[Identifier | None, Query(alias="usageType")]
CodeFilter = Annotated[str | None, Query(alias="code", pattern=CODE_PATTERN, description="the code of the reason")]
SubscriptionFilter = Annotated[Identifier | None, Query(alias="subscriptionId")]
EventIdFilter = Annotated[RecordedEventId | None, Query(alias="eventId")]
PageSize = Annotated[int, Query(ge=1, le=100, description="maximum number of results")]
Cursor = Annotated[str | None, Query(max_length=1024, description="the nextCursor of the previous page")]


def _noon(text: object) -> datetime | None:
    """Return noon of a day. Every period starts at midnight UTC, so any instant of the day is in the same period."""
    try:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", str(text)):  # strptime is less strict
            raise ValueError
        day = datetime.strptime(f"{text} 12+0000", "%Y-%m-%d %H%z")
        if not 2000 <= day.year <= 9998:
            raise ValueError
    except ValueError:
        raise ValueError("must be a date such as 2026-11-01, in the year 2000 or later") from None
    return day


Day = Annotated[
    datetime | None,
    BeforeValidator(_noon),
    WithJsonSchema({"type": "string", "format": "date", "pattern": r"^(?!9999)[2-9][0-9]{3}-[0-9]{2}-[0-9]{2}$"}),
    Query(description="any day of the period; the current period if left out"),
]


def _respond_async(text: str | None) -> bool:
    """Return True if the header `Prefer` (RFC 7240) contains respond-async. Unknown preferences are ignored."""
    names = [preference.partition(";")[0].strip().lower() for preference in (text or "").split(",")]
    return "respond-async" in names


IdempotencyKey = Annotated[
    EventId | None, Header(alias="Idempotency-Key", description="an alternative to `eventId` in the body")
]

PrefersAsync = Annotated[
    bool,
    BeforeValidator(_respond_async),
    WithJsonSchema({"type": "string"}),
    Header(alias="Prefer", description="`respond-async`: send the usage to the queue and respond at once"),
]
