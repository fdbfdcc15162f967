"""Recording what waited in the queue, and burying what cannot be recorded."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from usage_billing import catalog
from usage_billing.errors import BillingError, DatabaseUnavailable, InternalError, LedgerBusy, QueueUnavailable
from usage_billing.ledger import UsageEvent
from usage_billing.observability import EVENTS_DEAD, count, logger
from usage_billing.queueing import bury, bury_body, events_in
from usage_billing.recording import Outcome, record_all

PASSING = (LedgerBusy, DatabaseUnavailable, InternalError)
"""What may go well when it is tried again; everything else is final."""


@dataclass(frozen=True, slots=True)
class Message:
    message_id: str
    body: str


def consume(messages: Sequence[Message], now: datetime) -> list[str]:
    """Record the events of `messages`, those of one ledger together; the ids of the messages to deliver again."""
    events: list[UsageEvent] = []
    owners: list[str] = []
    again: set[str] = set()
    for message in messages:
        try:
            found = events_in(message.body)
        except ValueError as error:
            _bury_unreadable(message, str(error), again)
        else:
            events += found
            owners += [message.message_id] * len(found)
    outcomes = record_all(events, catalog.recent_subscription, now)
    for owner, event, outcome in zip(owners, events, outcomes, strict=True):
        if not _is_done(event, outcome, now):
            again.add(owner)
    return sorted(again)


def _is_done(event: UsageEvent, outcome: Outcome, now: datetime) -> bool:
    """Whether the event is recorded or buried."""
    if isinstance(outcome, PASSING):
        logger.warning("event waits", event_id=event.event_id, code=outcome.code)
        return False
    if isinstance(outcome, BillingError):
        try:
            bury(event, outcome, now)
        except QueueUnavailable:
            return False
        count(EVENTS_DEAD)
        logger.error(
            "event dead",
            event_id=event.event_id,
            subscription_id=event.subscription_id,
            code=outcome.code,
            detail=outcome.message,
        )
    return True


def _bury_unreadable(message: Message, detail: str, again: set[str]) -> None:
    try:
        bury_body(message.body, "unreadable", detail)
    except QueueUnavailable:
        again.add(message.message_id)
        return
    count(EVENTS_DEAD)
    logger.error("message dead", message_id=message.message_id, code="unreadable", detail=detail)
