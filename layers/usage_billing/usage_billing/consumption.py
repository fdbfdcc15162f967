"""Recording what waited in the queue, and burying what cannot be recorded."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import inf

from usage_billing import catalog
from usage_billing.errors import BillingError, DatabaseUnavailable, InternalError, LedgerBusy
from usage_billing.ledger import UsageEvent
from usage_billing.observability import EVENTS_DEAD, EVENTS_DELAYED, count, logger
from usage_billing.queueing import bury, bury_bodies, events_in, postpone
from usage_billing.recording import record_all

PASSING = (LedgerBusy, DatabaseUnavailable, InternalError)
"""What may go well when it is tried again; everything else is final."""

MOST_RECEIVES = 16
"""How often a message is delivered before the queue itself moves it away, without a reason."""

RECORDING_RESERVE_SECONDS = 40.0
"""What is kept of a delivery's time when nothing more is recorded: four calls that hang, each until it is given up."""

BURYING_RESERVE_SECONDS = 10.0
"""What is kept of it when nothing more is buried: one call that hangs, and the answer."""

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
        return self.receives >= MOST_RECEIVES

    @property
    def delay(self) -> int:
        """In how many seconds it is to come again."""
        return min(LATEST_SECONDS, SOONEST_SECONDS << (self.receives - 1))


@dataclass(frozen=True, slots=True)
class _Dead:
    """An event of a message that cannot be recorded."""

    message: Message
    event: UsageEvent
    reason: BillingError


def consume(messages: Sequence[Message], now: datetime, seconds_left: Callable[[], float] = lambda: inf) -> list[str]:
    """Record the events of `messages`, those of one ledger together; the ids of the messages to deliver again.

    These come again after a delay of their own, not after the queue's visibility time-out.
    Events that cannot be recorded are buried once their message has no other that may still be: it would bring them
    along each time. On a message's last delivery all that is not recorded is buried.
    """
    reports: list[tuple[Message, UsageEvent]] = []
    unreadable: list[tuple[Message, str]] = []
    for message in messages:
        try:
            reports += [(message, event) for event in events_in(message.body)]
        except ValueError as error:
            unreadable.append((message, str(error)))
    outcomes = record_all(
        [event for _, event in reports],
        catalog.recent_subscription,
        now,
        seconds_left=lambda: seconds_left() - RECORDING_RESERVE_SECONDS,
    )
    failed = [
        _Dead(message, event, outcome)
        for (message, event), outcome in zip(reports, outcomes, strict=True)
        if isinstance(outcome, BillingError)
    ]
    waiting = [each for each in failed if isinstance(each.reason, PASSING) and not each.message.is_last_chance]
    for code, events in Counter(each.reason.code for each in waiting).items():
        count(EVENTS_DELAYED, events)
        logger.warning("events wait", code=code, events=events)
    again = {each.message.message_id for each in waiting}
    dead = [each for each in failed if each.message.message_id not in again]

    def spare() -> float:
        return seconds_left() - BURYING_RESERVE_SECONDS

    again |= _bury_unreadable(unreadable, spare) | _bury(dead, now, spare)
    postpone([(each.receipt, each.delay) for each in messages if each.message_id in again], spare)
    return sorted(again)


def _bury(dead: Sequence[_Dead], now: datetime, seconds_left: Callable[[], float]) -> set[str]:
    """The ids of the messages with an event that could not even be buried."""
    refused = bury([(each.event, each.reason) for each in dead], now, seconds_left)
    for each, failure in zip(dead, refused, strict=True):
        if failure is None:
            count(EVENTS_DEAD)
            logger.error(
                "event dead",
                event_id=each.event.event_id,
                subscription_id=each.event.subscription_id,
                code=each.reason.code,
                detail=each.reason.message,
            )
    return {each.message.message_id for each, failure in zip(dead, refused, strict=True) if failure}


def _bury_unreadable(dead: Sequence[tuple[Message, str]], seconds_left: Callable[[], float]) -> set[str]:
    """The ids of the messages that could not even be buried."""
    refused = bury_bodies([(message.body, detail) for message, detail in dead], "unreadable", seconds_left)
    for (message, detail), failure in zip(dead, refused, strict=True):
        if failure is None:
            count(EVENTS_DEAD)
            logger.error("message dead", message_id=message.message_id, code="unreadable", detail=detail)
    return {message.message_id for (message, _), failure in zip(dead, refused, strict=True) if failure}
