"""Redrive and drop dead events."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from usage_billing.kernel.errors import DatabaseUnavailable
from usage_billing.kernel.instants import sortable
from usage_billing.platform.deadline import NEVER, Deadline
from usage_billing.platform.failures import as_billing_error
from usage_billing.platform.log_events import LogEvent
from usage_billing.platform.observability import logger
from usage_billing.usage.dead_events import store
from usage_billing.usage.dead_events.model import DeadEvent, Position, Selection
from usage_billing.usage.queue import requeue

MAX_PER_CALL = 100
"""Dead events that one call redrives or drops."""


@dataclass(frozen=True, slots=True)
class Moved:
    """How many dead events are gone, redriven or dropped, and how many stay."""

    done: int
    kept: int


def redrive(dead: Sequence[DeadEvent], deadline: Deadline = NEVER) -> Moved:
    """Send dead events back to the queue, and remove what was sent.

    Sent first: one that is then in both places is recorded once all the same, and its row is removed the next time.
    """
    refused = requeue([(each.content, each.event_id is not None) for each in dead], deadline)
    sent = [each for each, failure in zip(dead, refused, strict=True) if failure is None]
    removed = sum(_remove(each, LogEvent.DEAD_EVENT_REDRIVEN, deadline) for each in sent)
    return Moved(removed, len(dead) - removed)


def drop(dead: Sequence[DeadEvent], deadline: Deadline = NEVER) -> Moved:
    """Remove dead events for good. The log says which, and by whom."""
    removed = sum(_remove(each, LogEvent.DEAD_EVENT_DROPPED, deadline) for each in dead)
    return Moved(removed, len(dead) - removed)


def _remove(dead: DeadEvent, done: LogEvent, deadline: Deadline) -> bool:
    """Remove a dead event unless it died again since it was read. Return whether it is gone."""
    if deadline.has_passed:
        return False
    about: dict[str, Any] = {"event_id": dead.event_id, "subscription_id": dead.subscription_id, "dead_event": dead.id}
    try:
        removed = store.remove(dead)
    except Exception as error:
        failure = as_billing_error(error)
        if not isinstance(failure, DatabaseUnavailable):
            raise
        logger.error(LogEvent.DEAD_EVENT_NOT_REMOVED, **about, wanted=done, cause=repr(error))
        return False
    if removed:
        logger.warning(done, **about, code=dead.code)
    return removed


def chosen(
    selection: Selection, ids: Sequence[str] | None, cursor: str | None, now: datetime
) -> tuple[list[DeadEvent], str | None]:
    """What one call moves: those of `ids` that meet the selection, else the next ones of it, and where these go on.

    What dies after the first of these calls is left alone: sent back at once, it could go round for ever.

    Raises:
        ValidationFailed: the cursor is not one of this selection's.
    """
    if ids is not None:
        return [dead for dead in store.named(ids) if selection.takes(dead)], None
    after = Position.parse(cursor, selection) if cursor else Position(before=sortable(now))
    found, rest = store.page(selection, MAX_PER_CALL, after)
    if selection.subscription_id is None:
        # They come from an index, which lags behind the table: one that was just dropped must not be sent back.
        found = [
            dead for dead in store.named([each.id for each in found]) if selection.takes(dead) and after.takes(dead)
        ]
    return found, rest.cursor if rest else None
