"""What the API takes: bodies and parameters, and the domain values they become."""

import re
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Self
from uuid import uuid4

from aws_lambda_powertools.event_handler.openapi.params import Header, Path, Query
from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from usage_billing.kernel.errors import FieldError, SubscriptionUserFixed, ValidationFailed
from usage_billing.kernel.fields import Instant, Limit, PrintableText, Quantity, Strict, UnitPrice
from usage_billing.kernel.identifiers import (
    CODE_PATTERN,
    INVOICE_ID_PATTERN,
    RUN_ID_PATTERN,
    EventId,
    Identifier,
    RecordedEventId,
)
from usage_billing.kernel.metadata import Metadata
from usage_billing.kernel.money import Currency
from usage_billing.ledger import UsageEvent
from usage_billing.pricing import Quota
from usage_billing.subscriptions import Subscription, SubscriptionStatus

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

MOST_EVENTS_IN_BATCH = 500
MOST_BATCH_BYTES = 1024 * 1024
MAX_SELECTION_BYTES = 128 * 1024
"""Of a selection of dead events: a hundred ids, as long as they may be."""


class Request(Strict):
    """A body: its fields have their JSON names only."""

    model_config = ConfigDict(validate_by_name=False)


class ReportedUsage(Request):
    """A usage event as a service sends it.

    `eventId` makes the report safe to send again; the header Idempotency-Key serves as well. Without either the event
    gets a new id, and sent twice it counts twice. Without `occurredAt` it occurred at `reportedAt`, but at the
    latest when it arrives. `reportedAt` may be another one each time the report is sent; `occurredAt` has to stay the
    same.
    """

    event_id: EventId | None = None
    user_id: Identifier
    subscription_id: Identifier
    usage_type: Identifier
    quantity: Quantity
    occurred_at: Instant | None = None
    reported_at: Instant | None = None
    metadata: Metadata = Field(default_factory=dict)

    def event(self, idempotency_key: str | None = None, accepted_at: datetime | None = None) -> UsageEvent:
        """The event that is reported, and that we took at `accepted_at`, if it waited since.

        Raises:
            ValidationFailed: `eventId` and `idempotency_key` differ.
        """
        if self.event_id and idempotency_key and self.event_id != idempotency_key:
            raise ValidationFailed(FieldError("eventId", "contradiction", "must be the same as Idempotency-Key"))
        return UsageEvent(
            event_id=self.event_id or idempotency_key or uuid4().hex,
            user_id=self.user_id,
            subscription_id=self.subscription_id,
            usage_type=self.usage_type,
            quantity=self.quantity,
            occurred_at=self.occurred_at,
            metadata=self.metadata,
            accepted_at=accepted_at,
            reported_at=self.reported_at,
        )


AnyReport = Annotated[Any, Field(description="shaped like ReportedUsage; what is not is rejected, and it alone")]


class UsageBatch(Request):
    """Usage events, each validated and recorded on its own: one that is no event at all does not fail the others."""

    events: Annotated[list[AnyReport], Field(min_length=1, max_length=MOST_EVENTS_IN_BATCH)]


class BillingScope(Request):
    """Narrows a billing run to one subscription."""

    subscription_id: Identifier | None = None


class DeadEventSelection(Request):
    """Which dead events are meant: those that meet everything that is given. At least one field says which.

    `ids` are those of the list of dead events. Without them a call takes the next ones, and answers a `nextCursor` if
    there may be more: send the same selection with it as `cursor`.
    """

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": [name]} for name in ("ids", "code", "subscriptionId", "eventId")]}
    )

    ids: Annotated[list[Annotated[str, Field(max_length=1024)]], Field(min_length=1, max_length=100)] | None = None
    code: Annotated[str, Field(pattern=CODE_PATTERN)] | None = None
    subscription_id: Identifier | None = None
    event_id: RecordedEventId | None = None
    cursor: Annotated[str, Field(max_length=1024)] | None = None

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        """All of them are never meant by accident."""
        if self.ids is None and self.code is None and self.subscription_id is None and self.event_id is None:
            raise ValueError("must have ids, code, subscriptionId or eventId")
        return self


class QuotaTerms(Request):
    """A quota. Its plan and usage type stand in the path and may be repeated here."""

    plan_id: Identifier | None = None
    usage_type: Identifier | None = None
    monthly_limit: Limit
    unit_price: UnitPrice
    unit_name: PrintableText
    currency: Currency = "USD"

    def quota(self, plan_id: str, usage_type: str) -> Quota:
        _same("planId", self.plan_id, plan_id)
        _same("usageType", self.usage_type, usage_type)
        return Quota(
            plan_id=plan_id,
            usage_type=usage_type,
            monthly_limit=self.monthly_limit,
            unit_price=self.unit_price,
            unit_name=self.unit_name,
            currency=self.currency,
        )


def _whole(value: object) -> object:
    """To JSON 9.0 is the integer 9."""
    return int(value) if isinstance(value, Decimal) and value == value.to_integral_value() else value


class SubscriptionTerms(Request):
    """A subscription. Its id stands in the path and may be repeated here.

    Left out, `status` and `billingAnchorDay` stay as they are; a new subscription is active and anchored on day 1.
    """

    subscription_id: Identifier | None = None
    user_id: Identifier
    plan_id: Identifier
    status: SubscriptionStatus | None = None
    billing_anchor_day: Annotated[int | None, Field(strict=True, ge=1, le=31), BeforeValidator(_whole)] = None

    def subscription(self, subscription_id: str, current: Subscription | None, now: datetime) -> Subscription:
        """The subscription that `current`, if there is one, becomes.

        Raises:
            SubscriptionUserFixed: it belongs to another user.
        """
        _same("subscriptionId", self.subscription_id, subscription_id)
        if current is None:
            return Subscription(
                subscription_id=subscription_id,
                user_id=self.user_id,
                plan_id=self.plan_id,
                status=self.status or SubscriptionStatus.ACTIVE,
                billing_anchor_day=self.billing_anchor_day or 1,
            )
        if current.user_id != self.user_id:
            raise SubscriptionUserFixed("A subscription keeps its user; cancel it and create one for the other user.")
        changed = current.model_copy(update={"plan_id": self.plan_id, "status": self.status or current.status})
        return changed.with_anchor_day(self.billing_anchor_day or current.billing_anchor_day, now)


def _same(field: str, in_body: str | None, in_path: str) -> None:
    if in_body not in (None, in_path):
        raise ValidationFailed(FieldError(field, "contradiction", "must be the same as in the path"))
