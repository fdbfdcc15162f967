"""The format of the messages of the event queue: accepted events as JSON. Dead events are kept in the same form.

A message may wait for days and be read by a later release, so any change to the format needs a new version. Pure.
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
"""The version that is read. A message without one has version 1, and is written without it, because an older consumer
may read it during a deployment. For the same reason, a release must read a later version before another writes it."""


class _QueuedEvent(Strict):
    """An event in a message: as it was accepted, with the id under which it will be recorded."""

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
    """Return the events of a message.

    Raises:
        ValueError: the message is not in this format. The error's text is logged, so it contains none of the content.
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
"""Maximum validation errors reported for an unreadable message."""


def _without_content(error: ValidationError) -> str:
    """Return where the errors are, and their types. The name of an unknown field is content, so it is left out."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    reported = []
    for each in errors[:MAX_ERRORS]:
        location = each["loc"][:-1] if each["type"] == "extra_forbidden" else each["loc"]
        reported.append(f"{'.'.join(map(str, location)) or 'the message'}: {each['type']}")
    more = len(errors) - MAX_ERRORS
    return "; ".join([*reported, f"and {more} more"] if more > 0 else reported)


def event_json(event: UsageEvent, now: datetime) -> str:
    """Return an event as JSON, for a message or a dead event. It was accepted `now`, unless it was accepted before."""
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
    # ASCII: SQS rejects U+FFFE and U+FFFF, and the length in characters is also the length in bytes.
    return dumps({name: value for name, value in fields.items() if value}, ascii_only=True)


def body_of(events: Iterable[str]) -> str:
    """Return the body of a message with these events, each as `event_json` returned it."""
    return f'{{"events":[{",".join(events)}]}}'
