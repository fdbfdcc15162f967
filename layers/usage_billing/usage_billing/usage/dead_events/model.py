"""Dead events: accepted events that cannot be recorded. Pure."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from usage_billing.kernel import cursors, errors
from usage_billing.kernel.exact_json import dumps, loads
from usage_billing.kernel.instants import iso, sortable
from usage_billing.usage.events import UsageEvent

UNREADABLE = "unreadable"
"""The code of a message that holds no events of ours."""

UNDELIVERED = "undelivered"
"""The code of an event whose message SQS moved aside, because no delivery of it was completed, if no other is known."""

CODES = tuple(sorted({UNREADABLE, UNDELIVERED, *errors.error_codes()}))
"""All codes that a dead event can have."""

NO_SUBSCRIPTION: Final = "#unreadable"
"""The partition of unreadable messages. No subscription has this id: identifiers hold no `#`."""


MAX_DETAIL = 1000
"""Maximum characters kept of the text of a reason."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What is to be kept, and why: an event, or the body of a message without events. `message_id` brought it."""

    message_id: str
    code: str
    detail: str
    event: UsageEvent | None = None
    body: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """The key of its dead event. The same content has the same one, whenever it was accepted."""
        event = self.event
        if event is None:
            return NO_SUBSCRIPTION, hashlib.sha256(self.body.encode()).hexdigest()
        compared = {
            "userId": event.user_id,
            "usageType": event.usage_type,
            "quantity": event.quantity,
            "occurredAt": event.occurred_at and iso(event.occurred_at),
            "metadata": event.metadata,
        }
        digest = hashlib.sha256(dumps(compared, sort_keys=True, ascii_only=True).encode()).hexdigest()
        return event.subscription_id, f"{event.event_id} {digest[:32]}"

    @property
    def stored_detail(self) -> str:
        return self.detail[:MAX_DETAIL].encode("ascii", "backslashreplace").decode()


@dataclass(frozen=True, slots=True)
class DeadEvent:
    """A row: `content` is the event's JSON as the queue holds it, or the body of an unreadable message.

    `version` names this state of the row: it changes whenever the event is dead-lettered again.
    """

    subscription_id: str
    event_key: str
    code: str
    detail: str
    dead_at: datetime
    last_dead_at: datetime
    attempts: int
    version: str
    content: str
    event_id: str | None
    user_id: str | None

    @property
    def id(self) -> str:
        """An opaque name for the API."""
        return cursors.encode(self.subscription_id, self.event_key)

    @property
    def event(self) -> dict[str, Any] | None:
        """The event as it was accepted; None for an unreadable message."""
        if self.event_id is None:
            return None
        event: dict[str, Any] = loads(self.content)
        return event


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead events are meant: those that meet everything that is given."""

    code: str | None = None
    subscription_id: str | None = None
    event_id: str | None = None

    def takes(self, dead: DeadEvent) -> bool:
        return (
            self.code in (None, dead.code)
            and self.subscription_id in (None, dead.subscription_id)
            and self.event_id in (None, dead.event_id)
        )


@dataclass(frozen=True, slots=True)
class Position:
    """Where a list of dead events goes on: behind this row. `before` leaves out what died later."""

    before: str = ""
    code: str = ""
    dead_at: str = ""
    subscription_id: str = ""
    event_key: str = ""

    def takes(self, dead: DeadEvent) -> bool:
        """Whether it died soon enough for a list that goes on here."""
        return not self.before or sortable(dead.dead_at) <= self.before

    @property
    def cursor(self) -> str:
        return cursors.encode(self.before, self.code, self.dead_at, self.subscription_id, self.event_key)

    @classmethod
    def parse(cls, cursor: str, selection: Selection) -> "Position":
        """The position that `cursor` names in the list of `selection`.

        Raises:
            ValidationFailed: it is not one of that list's.
        """
        found = cls(*map(str, cursors.decode(cursor, *[str] * 5)))
        by_code = found.code in ([selection.code] if selection.code else CODES)
        is_ours = by_code if selection.subscription_id is None else found.subscription_id == selection.subscription_id
        # Within a subscription DynamoDB takes no start outside of what is asked for.
        is_near = not (selection.subscription_id and selection.event_id) or found.event_key.startswith(
            f"{selection.event_id} "
        )
        if not (is_ours and is_near and found.subscription_id and found.event_key and found.dead_at):
            raise cursors.invalid_cursor()
        return found
