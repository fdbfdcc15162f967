"""Dead events: accepted events that cannot be recorded, kept until somebody redrives or drops them.

A row per event and content. Dead-lettering it again changes nothing but its reason, its last time and its count, so
every write here can fail, be repeated or race. A row is removed only as it was read: what died again meanwhile stays.
"""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from math import inf
from typing import Any, Final
from uuid import uuid4

from pynamodb.exceptions import DeleteError, DoesNotExist
from pynamodb.expressions.condition import Condition

from usage_billing import store
from usage_billing.kernel import cursors, errors
from usage_billing.kernel.errors import BillingError
from usage_billing.kernel.exact_json import dumps, loads
from usage_billing.kernel.instants import instant, iso
from usage_billing.ledger import UsageEvent
from usage_billing.platform.failures import as_billing_error
from usage_billing.platform.observability import EVENTS_DEAD, count, logger
from usage_billing.platform.tables import DeadEventTable, error_code
from usage_billing.queueing import event_json, requeue

UNREADABLE = "unreadable"
"""The code of a message that holds no events of ours."""

UNDELIVERED = "undelivered"
"""The code of an event whose message SQS moved aside, because no delivery of it was completed, if no other is known."""

CODES = tuple(sorted({UNREADABLE, UNDELIVERED, *errors.codes()}))
"""All codes that a dead event can have."""

NO_SUBSCRIPTION: Final = "#unreadable"
"""The partition of unreadable messages. No subscription has this id: identifiers hold no `#`."""

MAX_DETAIL = 1000
"""Characters kept of a reason's text."""

RESERVE_SECONDS = 8.0
"""What is kept of a request's time when no more is redriven or dropped: one call that hangs, and the answer."""

MAX_PER_CALL = 100
"""Dead events that one call redrives or drops."""

THREADS = 8
"""How many rows are written at the same time."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What is to be kept, and why: an event, or the body of a message without events. `message_id` brought it."""

    message_id: str
    code: str
    detail: str
    event: UsageEvent | None = None
    body: str = ""


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
        return not self.before or iso(dead.dead_at) <= self.before

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


# Writing


def keep(
    dead: Sequence[DeadLetter], now: datetime, seconds_left: Callable[[], float] = lambda: inf
) -> list[BillingError | None]:
    """Keep what cannot be recorded; None for each that is kept, in the order given.

    Once no `seconds_left` are left nothing more is written. A new row is counted when it is known to be written, so
    that one whose writer was cut off in between is counted when its message comes again.
    """

    def kept(letter: DeadLetter) -> BillingError | None:
        if seconds_left() <= 0:
            return errors.DatabaseUnavailable("There was no time left to keep it.")
        try:
            _keep(letter, now)
        except Exception as error:
            logger.exception("dead event not kept", message_id=letter.message_id)
            return as_billing_error(error)
        return None

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(kept, dead)) if len(dead) > 1 else [kept(each) for each in dead]


def _keep(letter: DeadLetter, now: datetime) -> None:
    event, row = letter.event, DeadEventTable
    undelivered = letter.code == UNDELIVERED
    if undelivered and event and _is_recorded(event):
        logger.info("undelivered event is recorded", message_id=letter.message_id, event_id=event.event_id)
        return
    code, detail = letter.code, _plain(letter.detail)
    subscription_id, key = _name(letter)
    content = event_json(event, now) if event else letter.body
    stored = row(subscription_id, key)
    stored.update(
        [
            # Its message had other events: why this one died may be known from an earlier delivery.
            row.code.set(row.code | code if undelivered else code),
            row.detail.set(row.detail | detail if undelivered else detail),
            row.last_dead_at.set(iso(now)),
            row.version.set(uuid4().hex),
            row.attempts.add(1),
            row.dead_at.set(row.dead_at | iso(now)),
            row.message_id.set(row.message_id | letter.message_id),
            row.content.set(row.content | content),
            *([row.event_id.set(event.event_id), row.user_id.set(event.user_id)] if event else []),
        ]
    )
    # Where an answer was lost the SDK has written twice: the message that brought the row tells, a count would not.
    if stored.message_id == letter.message_id:
        count(EVENTS_DEAD)
    logger.error(
        "event dead-lettered",
        message_id=letter.message_id,
        event_id=event and event.event_id,
        subscription_id=event and event.subscription_id,
        code=stored.code,
        detail=stored.detail,
    )


def _is_recorded(event: UsageEvent) -> bool:
    entry = store.entry(event.subscription_id, event.event_id)
    return entry is not None and not entry.differences(event)


def _name(letter: DeadLetter) -> tuple[str, str]:
    """The keys of a dead letter's row: the same content has the same ones, whenever it was accepted."""
    event = letter.event
    if event is None:
        return NO_SUBSCRIPTION, hashlib.sha256(letter.body.encode()).hexdigest()
    compared = {
        "userId": event.user_id,
        "usageType": event.usage_type,
        "quantity": event.quantity,
        "occurredAt": event.occurred_at and iso(event.occurred_at),
        "metadata": event.metadata,
    }
    digest = hashlib.sha256(dumps(compared, sort_keys=True, ascii_only=True).encode()).hexdigest()
    return event.subscription_id, f"{event.event_id} {digest[:32]}"


def _plain(text: str) -> str:
    return text[:MAX_DETAIL].encode("ascii", "backslashreplace").decode()


# Reading


def of_event(subscription_id: str, event_id: str) -> list[DeadEvent]:
    """The dead events under an event id, read consistently: one for each content, the latest first."""
    under_id = DeadEventTable.event_key.startswith(f"{event_id} ")
    rows = DeadEventTable.query(subscription_id, under_id, consistent_read=True)
    return sorted(map(_dead_event, rows), key=lambda dead: dead.last_dead_at, reverse=True)


def named(ids: Sequence[str]) -> list[DeadEvent]:
    """The dead events of these ids that there are, read consistently."""
    found = []
    for name in dict.fromkeys(ids):
        try:
            subscription_id, key = map(str, cursors.decode(name, str, str))
            if subscription_id and key:  # DynamoDB takes no empty key, so no row has one
                found.append(_dead_event(DeadEventTable.get(subscription_id, key, consistent_read=True)))
        except (errors.ValidationFailed, DoesNotExist):
            continue
    return found


def page(selection: Selection, limit: int, after: Position) -> tuple[list[DeadEvent], Position | None]:
    """Up to `limit` dead events behind `after`, and where the list goes on if it may.

    By event id where a subscription is given, else by code and then by the time they died. A page may be short, or
    empty, and still go on.
    """
    if selection.subscription_id is not None:
        return _page_of_subscription(selection, limit, after)
    found: list[DeadEvent] = []
    codes = [selection.code] if selection.code else [code for code in CODES if code >= after.code]
    for code in codes:
        rows, rest = _query(
            code,
            DeadEventTable.dead_at <= after.before if after.before else None,
            _filter(event_id=selection.event_id),
            limit - len(found),
            _start(after, "code", "dead_at") if after.event_key and code == after.code else None,
            index_name=DeadEventTable.code_index.Meta.index_name,
        )
        found += rows
        if rest:
            return found, _position(after, rest)
        if len(found) == limit:
            last = found[-1]
            return found, Position(after.before, last.code, iso(last.dead_at), last.subscription_id, last.event_key)
    return found, None


def _page_of_subscription(selection: Selection, limit: int, after: Position) -> tuple[list[DeadEvent], Position | None]:
    assert selection.subscription_id is not None
    found, rest = _query(
        selection.subscription_id,
        DeadEventTable.event_key.startswith(f"{selection.event_id} ") if selection.event_id else None,
        _filter(code=selection.code, dead_at=after.before or None),
        limit,
        _start(after) if after.event_key else None,
        consistent_read=True,
    )
    return found, _position(after, rest) if rest else None


def _query(
    hash_key: str, range_condition: Condition | None, only: Condition | None, limit: int, start: Any, **more: Any
) -> tuple[list[DeadEvent], dict[str, Any] | None]:
    """One call: rows, and the key behind which there may be more."""
    answer = DeadEventTable._get_connection().query(
        hash_key,
        range_key_condition=range_condition,
        filter_condition=only,
        exclusive_start_key=start,
        limit=limit,
        **more,
    )
    found = [_dead_event(DeadEventTable.from_raw_data(item)) for item in answer["Items"]]
    return found, answer.get("LastEvaluatedKey")


def _filter(**wanted: str | None) -> Condition | None:
    row, condition = DeadEventTable, None
    for name, value in wanted.items():
        if value is not None:
            attribute = getattr(row, name)
            one = attribute <= value if name == "dead_at" else attribute == value
            condition = one if condition is None else condition & one
    return condition


def _start(after: Position, *index: str) -> dict[str, Any]:
    names = (*index, "subscription_id", "event_key")
    return {name: {"S": getattr(after, name)} for name in names}


def _position(after: Position, rest: dict[str, Any]) -> Position:
    """Where a list goes on behind the key that DynamoDB names; a subscription's list knows no code or time there."""
    known = {name: value["S"] for name, value in rest.items()}
    return Position(
        after.before, known.get("code", "-"), known.get("dead_at", "-"), known["subscription_id"], known["event_key"]
    )


def _dead_event(row: DeadEventTable) -> DeadEvent:
    return DeadEvent(
        subscription_id=row.subscription_id,
        event_key=row.event_key,
        code=row.code,
        detail=row.detail,
        dead_at=instant(row.dead_at),
        last_dead_at=instant(row.last_dead_at),
        attempts=row.attempts,
        version=row.version,
        content=row.content,
        event_id=row.event_id,
        user_id=row.user_id,
    )


# Redriving and dropping


@dataclass(frozen=True, slots=True)
class Moved:
    """How many dead events are gone, redriven or dropped, and how many stay."""

    done: int
    kept: int


def redrive(dead: Sequence[DeadEvent], seconds_left: Callable[[], float] = lambda: inf) -> Moved:
    """Send dead events back to the queue, and remove what was sent.

    Sent first: one that is then in both places is recorded once all the same, and its row is removed the next time.
    """
    refused = requeue([(each.content, each.event_id is not None) for each in dead], seconds_left)
    sent = [each for each, failure in zip(dead, refused, strict=True) if failure is None]
    removed = sum(_remove(each, "dead event redriven", seconds_left) for each in sent)
    return Moved(removed, len(dead) - removed)


def drop(dead: Sequence[DeadEvent], seconds_left: Callable[[], float] = lambda: inf) -> Moved:
    """Remove dead events for good. The log says which, and by whom."""
    removed = sum(_remove(each, "dead event dropped", seconds_left) for each in dead)
    return Moved(removed, len(dead) - removed)


def _remove(dead: DeadEvent, done: str, seconds_left: Callable[[], float]) -> bool:
    """Remove a row if it still is as it was read, or is gone already; whether it is gone."""
    if seconds_left() <= 0:
        return False
    row = DeadEventTable
    unchanged = row.subscription_id.does_not_exist() | (row.version == dead.version)
    named: dict[str, Any] = {"event_id": dead.event_id, "subscription_id": dead.subscription_id, "dead_event": dead.id}
    try:
        row(dead.subscription_id, dead.event_key).delete(condition=unchanged)
    except DeleteError as error:
        if error_code(error) != "ConditionalCheckFailedException":
            logger.error("dead event not removed", **named, wanted=done, cause=repr(error))
        return False
    logger.warning(done, **named, code=dead.code)
    return True


def chosen(
    selection: Selection, ids: Sequence[str] | None, cursor: str | None, now: datetime
) -> tuple[list[DeadEvent], str | None]:
    """What one call moves: those of `ids` that meet the selection, else the next ones of it, and where these go on.

    What dies after the first of these calls is left alone: sent back at once, it could go round for ever.

    Raises:
        ValidationFailed: the cursor is not one of this selection's.
    """
    if ids is not None:
        return [dead for dead in named(ids) if selection.takes(dead)], None
    after = Position.parse(cursor, selection) if cursor else Position(before=iso(now))
    found, rest = page(selection, MAX_PER_CALL, after)
    if selection.subscription_id is None:
        # They come from an index, which lags behind the table: one that was just dropped must not be sent back.
        found = [dead for dead in named([each.id for each in found]) if selection.takes(dead) and after.takes(dead)]
    return found, rest.cursor if rest else None
