"""Recording what waited in the queue, and dead-lettering what cannot be recorded."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from usage_billing.kernel.errors import BillingError, DatabaseUnavailable, InternalError, LedgerBusy
from usage_billing.platform import queues
from usage_billing.platform.config import settings
from usage_billing.platform.deadline import CONSUME_RESERVE, DEAD_LETTER_RESERVE, NEVER, Deadline
from usage_billing.platform.log_events import LogEvent
from usage_billing.platform.observability import EVENTS_DELAYED, count, logger
from usage_billing.subscriptions import store as subscription_store
from usage_billing.usage.dead_events.dead_lettering import dead_letter
from usage_billing.usage.dead_events.model import UNDELIVERED, UNREADABLE, DeadLetter
from usage_billing.usage.events import UsageEvent
from usage_billing.usage.messages import events_in
from usage_billing.usage.recording import record_all

TEMPORARY = (LedgerBusy, DatabaseUnavailable, InternalError)
"""What may go well when it is tried again; everything else is final."""

MAX_RECEIVES = 16
"""How often a message is delivered before the queue itself moves it away, without a reason."""

SOONEST_SECONDS = 15
LATEST_SECONDS = 3600
"""When a message comes again: soon after its first delivery, later each time, for eight hours in all."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it was delivered: `receives` is how often it has been by now, `receipt` names this delivery."""

    message_id: str
    body: str
    receipt: str
    receives: int = 1

    @property
    def is_last_chance(self) -> bool:
        return self.receives >= MAX_RECEIVES

    @property
    def delay(self) -> int:
        """In how many seconds it is to come again."""
        return min(LATEST_SECONDS, SOONEST_SECONDS << (self.receives - 1))


def consume(messages: Sequence[Message], now: datetime, deadline: Deadline = NEVER) -> list[str]:
    """Record the events of `messages`, those of one ledger together; the ids of the messages to deliver again.

    These come again after a delay of their own, not after the queue's visibility time-out.
    Events that cannot be recorded are dead-lettered once their message has no other that may still be: it would bring
    them along each time. On a message's last delivery all that is not recorded is dead-lettered.
    """
    reports, dead = _opened(messages)
    outcomes = record_all(
        [event for _, event in reports],
        subscription_store.recent_subscription,
        now,
        deadline=deadline.less(CONSUME_RESERVE),
    )
    failed = [
        (message, event, outcome)
        for (message, event), outcome in zip(reports, outcomes, strict=True)
        if isinstance(outcome, BillingError)
    ]
    waiting = [
        (message.message_id, reason)
        for message, _, reason in failed
        if isinstance(reason, TEMPORARY) and not message.is_last_chance
    ]
    for code, events in Counter(reason.code for _, reason in waiting).items():
        count(EVENTS_DELAYED, events)
        logger.warning(LogEvent.EVENTS_POSTPONED, code=code, events=events)
    again = {message_id for message_id, _ in waiting}
    dead += [
        DeadLetter(message.message_id, reason.code, reason.message, event)
        for message, event, reason in failed
        if message.message_id not in again
    ]
    kept_by = deadline.less(DEAD_LETTER_RESERVE)
    again |= _not_kept(dead, now, kept_by)
    queues.postpone(
        settings().usage_queue_url,
        [(each.receipt, each.delay) for each in messages if each.message_id in again],
        kept_by,
    )
    return sorted(again)


def keep_undelivered(messages: Sequence[Message], now: datetime, deadline: Deadline = NEVER) -> list[str]:
    """Keep what SQS itself moved aside, without a reason, as dead events; the ids of the messages to deliver again.

    What is recorded already is not kept, and what is dead already keeps its reason: one event that could not be
    dead-lettered is enough for a whole message to be moved aside.
    """
    reports, dead = _opened(messages)
    detail = f"SQS moved its message aside: none of {MAX_RECEIVES} deliveries was completed."
    dead += [DeadLetter(message.message_id, UNDELIVERED, detail, event) for message, event in reports]
    return sorted(_not_kept(dead, now, deadline.less(DEAD_LETTER_RESERVE)))


def _opened(messages: Sequence[Message]) -> tuple[list[tuple[Message, UsageEvent]], list[DeadLetter]]:
    """The events of messages, and the messages that hold none of ours."""
    reports: list[tuple[Message, UsageEvent]] = []
    unreadable: list[DeadLetter] = []
    for message in messages:
        try:
            reports += [(message, event) for event in events_in(message.body)]
        except ValueError as error:
            unreadable.append(DeadLetter(message.message_id, UNREADABLE, str(error), body=message.body))
    return reports, unreadable


def _not_kept(dead: Sequence[DeadLetter], now: datetime, deadline: Deadline) -> set[str]:
    """Keep dead events; the ids of the messages with one that could not be kept."""
    refused = dead_letter(dead, now, deadline)
    return {each.message_id for each, failure in zip(dead, refused, strict=True) if failure}
