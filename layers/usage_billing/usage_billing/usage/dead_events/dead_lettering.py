"""Dead-letter accepted events that cannot be recorded: save them until an administrator redrives or drops them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from usage_billing.kernel import errors
from usage_billing.kernel.errors import BillingError
from usage_billing.platform.deadline import NEVER, Deadline
from usage_billing.platform.failures import as_billing_error
from usage_billing.platform.log_events import LogEvent
from usage_billing.platform.observability import EVENTS_DEAD, count, logger
from usage_billing.usage import store as ledger_store
from usage_billing.usage.dead_events import store
from usage_billing.usage.dead_events.model import UNDELIVERED, DeadLetter
from usage_billing.usage.events import UsageEvent
from usage_billing.usage.messages import event_json

THREADS = 8
"""Dead events that are written at the same time."""


def dead_letter(dead: Sequence[DeadLetter], now: datetime, deadline: Deadline = NEVER) -> list[BillingError | None]:
    """Save dead events. Return None for each that is saved, else the error, in the order given.

    After the deadline nothing is written. A new dead event is counted only after it is saved: if the invocation ends
    between the two, it is counted when its message is delivered again.
    """

    def save(letter: DeadLetter) -> BillingError | None:
        if deadline.has_passed:
            return errors.DatabaseUnavailable("Ran out of time before saving it.")
        try:
            _write(letter, now)
        except Exception as error:
            logger.exception(LogEvent.DEAD_EVENT_NOT_SAVED, message_id=letter.message_id)
            return as_billing_error(error)
        return None

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(save, dead)) if len(dead) > 1 else [save(each) for each in dead]


def _write(letter: DeadLetter, now: datetime) -> None:
    event = letter.event
    if letter.code == UNDELIVERED and event and _is_recorded(event):
        logger.info(LogEvent.UNDELIVERED_EVENT_RECORDED, message_id=letter.message_id, event_id=event.event_id)
        return
    stored, first_message_id = store.save(letter, event_json(event, now) if event else letter.body, now)
    # The SDK retries a write whose response was lost. So the number of writes does not tell if the row is new, but the
    # message that first brought it does.
    if first_message_id == letter.message_id:
        count(EVENTS_DEAD)
    logger.error(
        LogEvent.EVENT_DEAD_LETTERED,
        message_id=letter.message_id,
        event_id=event and event.event_id,
        subscription_id=event and event.subscription_id,
        code=stored.code,
        detail=stored.detail,
    )


def _is_recorded(event: UsageEvent) -> bool:
    entry = ledger_store.entry(event.subscription_id, event.event_id)
    return entry is not None and not entry.differences(event)
