"""Dead events: accepted events that could not be recorded."""

from collections.abc import Mapping
from typing import Any

from usage_billing.dead_events import NO_SUBSCRIPTION, DeadEvent, Moved
from usage_billing.kernel.fields import Instant, Strict
from usage_billing.web.shapes import Page


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
