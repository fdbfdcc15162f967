"""What the API takes: bodies and parameters, and the domain values they become."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import uuid4

from pydantic import ConfigDict, Field, model_validator

from usage_billing.kernel.errors import FieldError, ValidationFailed
from usage_billing.kernel.fields import Instant, Quantity
from usage_billing.kernel.identifiers import (
    CODE_PATTERN,
    EventId,
    Identifier,
    RecordedEventId,
)
from usage_billing.kernel.metadata import Metadata
from usage_billing.ledger import UsageEvent
from usage_billing.web.shapes import Request

MOST_EVENTS_IN_BATCH = 500
MOST_BATCH_BYTES = 1024 * 1024
MAX_SELECTION_BYTES = 128 * 1024
"""Of a selection of dead events: a hundred ids, as long as they may be."""


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
