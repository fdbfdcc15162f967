"""Keep dead events until somebody redrives or drops them."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from uuid import uuid4

from usage_billing.kernel import errors
from usage_billing.kernel.errors import BillingError
from usage_billing.kernel.exact_json import dumps
from usage_billing.kernel.instants import iso
from usage_billing.platform.deadline import NEVER, Deadline
from usage_billing.platform.failures import as_billing_error
from usage_billing.platform.log_events import LogEvent
from usage_billing.platform.observability import EVENTS_DEAD, count, logger
from usage_billing.platform.tables import DeadEventTable
from usage_billing.usage import store as ledger_store
from usage_billing.usage.dead_events.model import NO_SUBSCRIPTION, UNDELIVERED, DeadLetter
from usage_billing.usage.events import UsageEvent
from usage_billing.usage.messages import event_json

MAX_DETAIL = 1000
"""Characters kept of a reason's text."""

THREADS = 8
"""How many rows are written at the same time."""


def dead_letter(dead: Sequence[DeadLetter], now: datetime, deadline: Deadline = NEVER) -> list[BillingError | None]:
    """Keep what cannot be recorded; None for each that is kept, in the order given.

    Once the deadline has passed, nothing more is written. A new row is counted when it is known to be written, so
    that one whose writer was cut off in between is counted when its message comes again.
    """

    def kept(letter: DeadLetter) -> BillingError | None:
        if deadline.has_passed:
            return errors.DatabaseUnavailable("There was no time left to keep it.")
        try:
            _write(letter, now)
        except Exception as error:
            logger.exception(LogEvent.DEAD_EVENT_NOT_SAVED, message_id=letter.message_id)
            return as_billing_error(error)
        return None

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(kept, dead)) if len(dead) > 1 else [kept(each) for each in dead]


def _write(letter: DeadLetter, now: datetime) -> None:
    event, row = letter.event, DeadEventTable
    undelivered = letter.code == UNDELIVERED
    if undelivered and event and _is_recorded(event):
        logger.info(LogEvent.UNDELIVERED_EVENT_RECORDED, message_id=letter.message_id, event_id=event.event_id)
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
