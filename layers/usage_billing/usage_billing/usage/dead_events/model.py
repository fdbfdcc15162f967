"""Dead events: accepted events that cannot be recorded, how to select them, and positions in lists of them. Pure."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from usage_billing.kernel import cursors, errors
from usage_billing.kernel.exact_json import dumps, loads
from usage_billing.kernel.instants import iso, sortable
from usage_billing.usage.events import UsageEvent

UNREADABLE = "unreadable"
"""The code of a message that is not in the format of the event queue."""

UNDELIVERED = "undelivered"
"""The code of an event whose message SQS moved to the dead-letter queue, if no other reason is known."""

CODES = tuple(sorted({UNREADABLE, UNDELIVERED, *errors.error_codes()}))
"""All codes that a dead event can have."""

NO_SUBSCRIPTION: Final = "#unreadable"
"""The partition of unreadable messages. No subscription has this id: identifiers hold no `#`."""


MAX_DETAIL = 1000
"""Maximum characters of a reason's text that are saved."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event to save and the reason, or an unreadable message's body. `message_id` is the message that brought it."""

    message_id: str
    code: str
    detail: str
    event: UsageEvent | None = None
    body: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """The key of its dead event. It depends on the content only, not on when the event was accepted."""
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
    """A saved dead event: `content` is the event's JSON as in the queue, or the body of an unreadable message.

    `version` changes each time the event is dead-lettered again.
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
        """The opaque id that the API shows."""
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
    """A selection of dead events: those that match all given fields."""

    code: str | None = None
    subscription_id: str | None = None
    event_id: str | None = None

    def matches(self, dead: DeadEvent) -> bool:
        return (
            self.code in (None, dead.code)
            and self.subscription_id in (None, dead.subscription_id)
            and self.event_id in (None, dead.event_id)
        )


@dataclass(frozen=True, slots=True)
class Position:
    """The position after a row in a list of dead events. Events that died after `before` are left out."""

    before: str = ""
    code: str = ""
    dead_at: str = ""
    subscription_id: str = ""
    event_key: str = ""

    def includes(self, dead: DeadEvent) -> bool:
        """Return whether the event died early enough to be in the list."""
        return not self.before or sortable(dead.dead_at) <= self.before

    @property
    def cursor(self) -> str:
        return cursors.encode(self.before, self.code, self.dead_at, self.subscription_id, self.event_key)

    @classmethod
    def parse(cls, cursor: str, selection: Selection) -> "Position":
        """Return the position in the list of `selection` that a cursor encodes.

        Raises:
            ValidationFailed: the cursor does not belong to that list.
        """
        found = cls(*map(str, cursors.decode(cursor, *[str] * 5)))
        by_code = found.code in ([selection.code] if selection.code else CODES)
        in_list = by_code if selection.subscription_id is None else found.subscription_id == selection.subscription_id
        # DynamoDB rejects a start key outside the range of the query.
        in_range = not (selection.subscription_id and selection.event_id) or found.event_key.startswith(
            f"{selection.event_id} "
        )
        if not (in_list and in_range and found.subscription_id and found.event_key and found.dead_at):
            raise cursors.invalid_cursor()
        return found
