"""The messages of the event queue: some accepted events as JSON, in a format of their own.

A message may wait for days and be read by a later version of this code, so the format changes only with its version.
Dead events keep the same JSON of an event. Pure.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Final, Literal

from pydantic import ConfigDict, Field, ValidationError

from usage_billing.kernel.exact_json import dumps, loads
from usage_billing.kernel.fields import Instant, Quantity, Strict
from usage_billing.kernel.identifiers import Identifier, RecordedEventId
from usage_billing.kernel.instants import iso
from usage_billing.usage.events import UsageEvent
from usage_billing.usage.metadata import Metadata

VERSION: Final = 1
"""Of the format that is written. A message without a version is of version 1, too."""


class _QueuedEvent(Strict):
    """An event in a message: as it was accepted, under the id that it will be recorded under."""

    model_config = ConfigDict(validate_by_name=False)

    event_id: RecordedEventId
    user_id: Identifier
    subscription_id: Identifier
    usage_type: Identifier
    quantity: Quantity
    occurred_at: Instant | None = None
    reported_at: Instant | None = None
    metadata: Metadata = Field(default_factory=dict)
    accepted_at: Instant

    def event(self) -> UsageEvent:
        return UsageEvent(
            event_id=self.event_id,
            user_id=self.user_id,
            subscription_id=self.subscription_id,
            usage_type=self.usage_type,
            quantity=self.quantity,
            occurred_at=self.occurred_at,
            metadata=self.metadata,
            accepted_at=self.accepted_at,
            reported_at=self.reported_at,
        )


class _Message(Strict):
    """The body of a message."""

    version: Literal[1] = VERSION
    events: list[_QueuedEvent]


def events_in(body: str) -> list[UsageEvent]:
    """The events of a message.

    Raises:
        ValueError: it is not a message of ours. What it says goes to logs and holds nothing of the message's content.
    """
    try:
        parsed = loads(body)
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    try:
        return [each.event() for each in _Message.model_validate(parsed).events]
    except ValidationError as error:
        raise ValueError(_without_content(error)) from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


MAX_ERRORS = 5
"""How many faults of an unreadable message are named."""


def _without_content(error: ValidationError) -> str:
    """Where the faults are and of which kind. The name of an unknown field is content too, so it is left out."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    named = []
    for fault in faults[:MAX_ERRORS]:
        location = fault["loc"][:-1] if fault["type"] == "extra_forbidden" else fault["loc"]
        named.append(f"{'.'.join(map(str, location)) or 'the message'}: {fault['type']}")
    more = len(faults) - MAX_ERRORS
    return "; ".join([*named, f"and {more} more"] if more > 0 else named)


def event_json(event: UsageEvent, now: datetime) -> str:
    """An event as the queue's messages and dead events hold it; taken `now`, unless it was taken before."""
    fields = {
        "eventId": event.event_id,
        "userId": event.user_id,
        "subscriptionId": event.subscription_id,
        "usageType": event.usage_type,
        "quantity": event.quantity,
        "occurredAt": event.occurred_at and iso(event.occurred_at),
        "reportedAt": event.reported_at and iso(event.reported_at),
        "metadata": event.metadata,
        "acceptedAt": iso(event.accepted(now)),
    }
    # ASCII: SQS refuses U+FFFE and U+FFFF, and a length in characters is one in bytes.
    return dumps({name: value for name, value in fields.items() if value}, ascii_only=True)


def body_of(events: Iterable[str]) -> str:
    """The body of a message that holds events' JSON."""
    return f'{{"version":{VERSION},"events":[{",".join(events)}]}}'
