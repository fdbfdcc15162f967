"""One event, and what became of it."""

from typing import Literal

from usage_billing.answers.usage import UsageRecord
from usage_billing.kernel.fields import Instant, Strict
from usage_billing.usage.dead_events.model import DeadEvent


class RecordedEvent(UsageRecord):
    """An event that was recorded: its entry, as in the list of records."""

    status: Literal["recorded"] = "recorded"


class UnrecordedEvent(Strict):
    """An accepted event that could not be recorded, and why. It is not billed unless an operator redrives it."""

    status: Literal["dead"] = "dead"
    event_id: str
    subscription_id: str
    code: str
    detail: str
    dead_at: Instant
    last_dead_at: Instant
    attempts: int

    @classmethod
    def of(cls, dead: DeadEvent) -> "UnrecordedEvent":
        return cls(
            event_id=dead.event_id or "",
            subscription_id=dead.subscription_id,
            code=dead.code,
            detail=dead.detail,
            dead_at=dead.dead_at,
            last_dead_at=dead.last_dead_at,
            attempts=dead.attempts,
        )
