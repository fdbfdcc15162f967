"""Dead events in requests and responses."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, model_validator

from usage_billing.kernel.fields import Instant, Strict
from usage_billing.kernel.identifiers import (
    CODE_PATTERN,
    Identifier,
    RecordedEventId,
)
from usage_billing.usage.dead_events.model import NO_SUBSCRIPTION, DeadEvent
from usage_billing.usage.dead_events.redriving import Moved
from usage_billing.web.shapes import Page, Request

MAX_SELECTION_BYTES = 128 * 1024
"""Of a selection of dead events: a hundred ids, as long as they may be."""


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


class DeadUsageEvent(Strict):
    """An accepted event that could not be recorded, and is not billed.

    `event` is the event as it was accepted. A message that holds no event has its `body` instead, and no ids.
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
    """`redriven` are in the queue again and no longer dead; `kept` are still dead and can be redriven again."""

    redriven: int
    kept: int

    @classmethod
    def of(cls, moved: Moved, next_cursor: str | None) -> "RedrivenEvents":
        return cls(redriven=moved.done, kept=moved.kept, next_cursor=next_cursor)


class DroppedEvents(Page):
    """`dropped` are gone for good; `kept` are still dead: they died again meanwhile, or could not be removed."""

    dropped: int
    kept: int

    @classmethod
    def of(cls, moved: Moved, next_cursor: str | None) -> "DroppedEvents":
        return cls(dropped=moved.done, kept=moved.kept, next_cursor=next_cursor)
