"""Select dead events, and redrive or drop them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from usage_billing.kernel.instants import sortable
from usage_billing.platform.deadline import NEVER, Deadline
from usage_billing.platform.log_events import LogEvent
from usage_billing.platform.observability import logger
from usage_billing.usage.dead_events import store
from usage_billing.usage.dead_events.model import DeadEvent, Position, Selection
from usage_billing.usage.event_queue import requeue

MAX_PER_CALL = 100
"""Maximum dead events that one call redrives or drops."""


@dataclass(frozen=True, slots=True)
class Removal:
    """The number of dead events that were removed, by redriving or dropping them, and of those that were kept."""

    removed: int
    kept: int


def redrive(dead: Sequence[DeadEvent], deadline: Deadline = NEVER) -> Removal:
    """Send dead events back to the queue, and remove those that were sent.

    They are sent first, so that none is lost. An event that is sent but not removed is recorded once all the same; it
    can be redriven again.
    """
    refused = requeue([(each.content, each.event_id is not None) for each in dead], deadline)
    sent = [each for each, failure in zip(dead, refused, strict=True) if failure is None]
    removed = sum(_remove(each, LogEvent.DEAD_EVENT_REDRIVEN, deadline) for each in sent)
    return Removal(removed, len(dead) - removed)


def drop(dead: Sequence[DeadEvent], deadline: Deadline = NEVER) -> Removal:
    """Remove dead events for good. The log shows which, and who did it."""
    removed = sum(_remove(each, LogEvent.DEAD_EVENT_DROPPED, deadline) for each in dead)
    return Removal(removed, len(dead) - removed)


def _remove(dead: DeadEvent, done: LogEvent, deadline: Deadline) -> bool:
    """Remove a dead event unless it died again since it was read. Return whether it is gone."""
    if deadline.has_passed:
        return False
    about: dict[str, Any] = {"event_id": dead.event_id, "subscription_id": dead.subscription_id, "dead_event": dead.id}
    try:
        removed = store.remove(dead)
    except store.NotRemoved as error:
        logger.error(LogEvent.DEAD_EVENT_NOT_REMOVED, **about, wanted=done, cause=str(error))
        return False
    if removed:
        logger.warning(done, **about, code=dead.code)
    return removed


def select(
    selection: Selection, ids: Sequence[str] | None, cursor: str | None, now: datetime
) -> tuple[list[DeadEvent], str | None]:
    """Return the dead events that one call processes, and the cursor of the next call, if there may be more.

    With `ids`, these are the events of these ids that match the selection. Events that die after the first of several
    calls are left out. Otherwise an event that dies again could be redriven endlessly.

    Raises:
        ValidationFailed: the cursor does not belong to this selection.
    """
    if ids is not None:
        return [dead for dead in store.with_ids(ids) if selection.matches(dead)], None
    after = Position.parse(cursor, selection) if cursor else Position(before=sortable(now))
    found, rest = store.page(selection, MAX_PER_CALL, after)
    if selection.subscription_id is None:
        # They come from an index that lags behind the table. An event that was just dropped must not be redriven.
        current = store.with_ids([each.id for each in found])
        found = [dead for dead in current if selection.matches(dead) and after.includes(dead)]
    return found, rest.cursor if rest else None
