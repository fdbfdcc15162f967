"""Load, save and remove dead events.

There is one row per event and content. Saving it again changes only its reason, its time and its count, so every write
can fail, be repeated, or run concurrently. A row is removed only if it is as it was read: an event that has died again
stays.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

from pynamodb.exceptions import DeleteError, DoesNotExist
from pynamodb.expressions.condition import Condition

from usage_billing.kernel import cursors, errors
from usage_billing.kernel.instants import instant, iso, sortable
from usage_billing.platform.dynamodb import error_code
from usage_billing.platform.tables import DeadEventTable
from usage_billing.usage.dead_events.model import CODES, UNDELIVERED, DeadEvent, DeadLetter, Position, Selection


def save(letter: DeadLetter, content: str, now: datetime) -> tuple[DeadEvent, str]:
    """Save a dead letter's event, and return it with the id of the message that first brought it."""
    row, undelivered = DeadEventTable, letter.code == UNDELIVERED
    code, detail, event = letter.code, letter.stored_detail, letter.event
    stored = row(*letter.key)
    stored.update(
        [
            # If the message had several events, an earlier delivery may have saved the reason for this one.
            row.code.set(row.code | code if undelivered else code),
            row.detail.set(row.detail | detail if undelivered else detail),
            row.last_dead_at.set(iso(now)),
            row.version.set(uuid4().hex),
            row.attempts.add(1),
            row.dead_at.set(row.dead_at | sortable(now)),
            row.message_id.set(row.message_id | letter.message_id),
            row.content.set(row.content | content),
            *([row.event_id.set(event.event_id), row.user_id.set(event.user_id)] if event else []),
        ]
    )
    return _dead_event(stored), stored.message_id


class NotRemoved(Exception):
    """A dead event could not be removed. It may be gone all the same."""


def remove(dead: DeadEvent) -> bool:
    """Remove a dead event unless it has changed since it was read. Return whether it is gone.

    Raises:
        NotRemoved: the database did not answer, or refused the call.
    """
    row = DeadEventTable
    unchanged = row.subscription_id.does_not_exist() | (row.version == dead.version)
    try:
        row(dead.subscription_id, dead.event_key).delete(condition=unchanged)
    except DeleteError as error:
        if error_code(error) != "ConditionalCheckFailedException":
            raise NotRemoved(repr(error)) from error
        return False
    return True


def of_event(subscription_id: str, event_id: str) -> list[DeadEvent]:
    """Return the dead events with an event id, one for each content, the latest first. Read consistently."""
    under_id = DeadEventTable.event_key.startswith(f"{event_id} ")
    rows = DeadEventTable.query(subscription_id, under_id, consistent_read=True)
    return sorted(map(_dead_event, rows), key=lambda dead: dead.last_dead_at, reverse=True)


def with_ids(ids: Sequence[str]) -> list[DeadEvent]:
    """Return the dead events with these ids, without those that do not exist. Read consistently."""
    found = []
    for dead_event_id in dict.fromkeys(ids):
        try:
            subscription_id, key = map(str, cursors.decode(dead_event_id, str, str))
            if subscription_id and key:  # DynamoDB rejects an empty key
                found.append(_dead_event(DeadEventTable.get(subscription_id, key, consistent_read=True)))
        except (errors.ValidationFailed, DoesNotExist):
            continue
    return found


def page(selection: Selection, limit: int, after: Position) -> tuple[list[DeadEvent], Position | None]:
    """Return up to `limit` dead events after a position, and the position of the next page, if there may be one.

    They are sorted by event id if a subscription is given, else by code and then by the time at which they died. A page
    can be short, or empty, and still have a next page.
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
            return found, Position(
                after.before, last.code, sortable(last.dead_at), last.subscription_id, last.event_key
            )
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
    """Query once. Return dead events, and the key after which there may be more."""
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
    """Return the position after a key that DynamoDB returned. In a subscription's list it has no code or time."""
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
