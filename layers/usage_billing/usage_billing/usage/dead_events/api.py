"""Dead events in requests and responses."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, model_validator

from usage_billing.kernel.fields import Instant, Strict
from usage_billing.kernel.identifiers import CODE_PATTERN, Identifier, RecordedEventId
from usage_billing.usage.dead_events.model import NO_SUBSCRIPTION, DeadEvent
from usage_billing.usage.dead_events.redriving import Removal
from usage_billing.web.base_models import Page, Request

MAX_SELECTION_BYTES = 128 * 1024
"""Maximum size of a selection: a hundred ids of maximum length fit."""


class DeadEventSelection(Request):
    """A selection of dead events: those that match all given fields. At least one of the first four is required.

    `ids` come from the list of dead events. Without `ids`, a call processes the next matching events. If there may be
    more, it returns a `nextCursor`: send the same selection again with that as `cursor`.
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
    def _require_criterion(self) -> Self:
        """Reject an empty selection, so that nobody selects all dead events by accident."""
        if self.ids is None and self.code is None and self.subscription_id is None and self.event_id is None:
            raise ValueError("must have ids, code, subscriptionId or eventId")
        return self


class DeadUsageEvent(Strict):
    """An accepted event that could not be recorded, and so is not billed.

    `event` is the event as it was accepted. A message that could not be read has its `body` instead, and no ids.
    """

    id: str
    code: str
    detail: str
    dead_at: Instant
    last_dead_at: Instant
    attempts: int
    subscription_id: str | None
    event_id: str | None
    user_id: str | None
    event: Mapping[str, Any] | None
    body: str | None

    @classmethod
    def of(cls, dead: DeadEvent) -> "DeadUsageEvent":
        return cls(
            id=dead.id,
            code=dead.code,
            detail=dead.detail,
            dead_at=dead.dead_at,
            last_dead_at=dead.last_dead_at,
            attempts=dead.attempts,
            subscription_id=None if dead.subscription_id == NO_SUBSCRIPTION else dead.subscription_id,
            event_id=dead.event_id,
            user_id=dead.user_id,
            event=dead.event,
            body=dead.content if dead.event_id is None else None,
        )


class DeadUsageEvents(Page):
    dead_events: list[DeadUsageEvent]


class RedrivenEvents(Page):
    """`redriven` events are back in the queue and no longer dead. `kept` events are still dead; redrive them again."""

    redriven: int
    kept: int

    @classmethod
    def of(cls, removal: Removal, next_cursor: str | None) -> "RedrivenEvents":
        return cls(redriven=removal.removed, kept=removal.kept, next_cursor=next_cursor)


class DroppedEvents(Page):
    """`dropped` events are removed for good. `kept` events are still dead: they died again, or removing them failed."""

    dropped: int
    kept: int

    @classmethod
    def of(cls, removal: Removal, next_cursor: str | None) -> "DroppedEvents":
        return cls(dropped=removal.removed, kept=removal.kept, next_cursor=next_cursor)
