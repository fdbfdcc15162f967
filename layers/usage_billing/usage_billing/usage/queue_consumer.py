"""The consumer of the event queue: record the events of its messages, and dead-letter those that cannot be recorded."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from usage_billing.kernel.errors import BillingError
from usage_billing.platform import queues
from usage_billing.platform.config import settings
from usage_billing.platform.deadline import CONSUME_RESERVE, DEAD_LETTER_RESERVE, NEVER, Deadline
from usage_billing.platform.log_events import LogEvent
from usage_billing.platform.observability import EVENTS_DELAYED, count, logger
from usage_billing.usage import redelivery
from usage_billing.usage.admission import Admission
from usage_billing.usage.dead_events.dead_lettering import dead_letter
from usage_billing.usage.dead_events.model import UNDELIVERED, UNREADABLE, DeadLetter
from usage_billing.usage.events import UsageEvent
from usage_billing.usage.messages import events_in
from usage_billing.usage.recording import record_all


@dataclass(frozen=True, slots=True)
class Message:
    """A message as delivered: `receives` counts its deliveries so far, `receipt` identifies this one."""

    message_id: str
    body: str
    receipt: str
    receives: int = 1

    @property
    def is_last_delivery(self) -> bool:
        return self.receives >= redelivery.MAX_RECEIVES

    @property
    def delay(self) -> int:
        """Seconds until it is delivered again."""
        return redelivery.delay_after(self.receives)


def consume(messages: Sequence[Message], now: datetime, deadline: Deadline = NEVER) -> list[str]:
    """Record the events of messages. Return the ids of the messages to deliver again.

    These are delivered again after a delay of their own, not after the queue's visibility timeout.
    An event that cannot be recorded is dead-lettered once no other event of its message may still be recorded: until
    then, each delivery brings it again. On a message's last delivery, all events that are not recorded are
    dead-lettered.
    """
    events, dead = _read(messages)
    outcomes = record_all([event for _, event in events], Admission(now), deadline=deadline.less(CONSUME_RESERVE))
    failed = [
        (message, event, outcome)
        for (message, event), outcome in zip(events, outcomes, strict=True)
        if isinstance(outcome, BillingError)
    ]
    postponed = [
        (message.message_id, error)
        for message, _, error in failed
        if isinstance(error, redelivery.TEMPORARY) and not message.is_last_delivery
    ]
    for code, number in Counter(error.code for _, error in postponed).items():
        count(EVENTS_DELAYED, number)
        logger.warning(LogEvent.EVENTS_POSTPONED, code=code, events=number)
    again = {message_id for message_id, _ in postponed}
    dead += [
        DeadLetter(message.message_id, error.code, error.message, event)
        for message, event, error in failed
        if message.message_id not in again
    ]
    dead_letter_by = deadline.less(DEAD_LETTER_RESERVE)
    again |= _dead_letter(dead, now, dead_letter_by)
    queues.postpone(
        settings().usage_queue_url,
        [(each.receipt, each.delay) for each in messages if each.message_id in again],
        dead_letter_by,
    )
    return sorted(again)


def dead_letter_undelivered(messages: Sequence[Message], now: datetime, deadline: Deadline = NEVER) -> list[str]:
    """Dead-letter the events of messages that SQS moved to the dead-letter queue. Return the ids to deliver again.

    SQS moves a whole message, even if only one of its events could not be dead-lettered. So events that are recorded
    are left out, and events that are dead already keep their reason.
    """
    events, dead = _read(messages)
    detail = f"SQS moved the message to the dead-letter queue: none of {redelivery.MAX_RECEIVES} deliveries completed."
    dead += [DeadLetter(message.message_id, UNDELIVERED, detail, event) for message, event in events]
    return sorted(_dead_letter(dead, now, deadline.less(DEAD_LETTER_RESERVE)))


def _read(messages: Sequence[Message]) -> tuple[list[tuple[Message, UsageEvent]], list[DeadLetter]]:
    """Return the events of messages, and the messages that cannot be read."""
    events: list[tuple[Message, UsageEvent]] = []
    unreadable: list[DeadLetter] = []
    for message in messages:
        try:
            events += [(message, event) for event in events_in(message.body)]
        except ValueError as error:
            unreadable.append(DeadLetter(message.message_id, UNREADABLE, str(error), body=message.body))
    return events, unreadable


def _dead_letter(dead: Sequence[DeadLetter], now: datetime, deadline: Deadline) -> set[str]:
    """Save dead events. Return the ids of the messages of which one could not be saved."""
    failures = dead_letter(dead, now, deadline)
    return {each.message_id for each, failure in zip(dead, failures, strict=True) if failure}
