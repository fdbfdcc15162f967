"""What the API takes: bodies and parameters, and the domain values they become."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Self
from uuid import uuid4

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from usage_billing.kernel.errors import FieldError, SubscriptionUserFixed, ValidationFailed
from usage_billing.kernel.fields import Instant, Limit, PrintableText, Quantity, UnitPrice
from usage_billing.kernel.identifiers import (
    CODE_PATTERN,
    EventId,
    Identifier,
    RecordedEventId,
)
from usage_billing.kernel.metadata import Metadata
from usage_billing.kernel.money import Currency
from usage_billing.ledger import UsageEvent
from usage_billing.pricing import Quota
from usage_billing.subscriptions import Subscription, SubscriptionStatus
from usage_billing.web.shapes import Request, require_same

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


class QuotaTerms(Request):
    """A quota. Its plan and usage type stand in the path and may be repeated here."""

    plan_id: Identifier | None = None
    usage_type: Identifier | None = None
    monthly_limit: Limit
    unit_price: UnitPrice
    unit_name: PrintableText
    currency: Currency = "USD"

    def quota(self, plan_id: str, usage_type: str) -> Quota:
        require_same("planId", self.plan_id, plan_id)
        require_same("usageType", self.usage_type, usage_type)
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
        require_same("subscriptionId", self.subscription_id, subscription_id)
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
