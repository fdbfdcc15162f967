"""The queue of usage events that are recorded later, and where those end that cannot be.

A message holds some events as JSON, each with the instant at which we took it. Every event in the queue is recorded
once or stands in the dead-letter queue; being delivered again changes nothing.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from usage_billing import aws
from usage_billing.config import settings
from usage_billing.errors import BillingError, QueueUnavailable
from usage_billing.exact_json import dumps, loads
from usage_billing.ledger import UsageEvent
from usage_billing.observability import EVENTS_QUEUED, count, logger
from usage_billing.requests import ReportedUsage
from usage_billing.values import EventId, Instant, Strict, iso

MOST_EVENTS = 99
"""How many events a message may hold: as many as one transaction takes."""

MOST_BYTES = 200_000
"""How large a call's messages may be together; SQS takes at least 256 KiB."""

MOST_MESSAGES = 10


class QueuedUsage(ReportedUsage):
    """An event in the queue."""

    event_id: EventId
    accepted_at: Instant

    @property
    def queued_event(self) -> UsageEvent:
        return self.event(accepted_at=self.accepted_at)


class QueuedEvents(Strict):
    """The body of a message."""

    events: list[QueuedUsage]


def enqueue(events: Sequence[UsageEvent], now: datetime) -> list[QueueUnavailable | None]:
    """Put events into the queue; None for each that is in it, in the order given."""
    refused: list[QueueUnavailable | None] = []
    for call in _calls(events, now):
        failed = _send(settings().usage_queue_url, [{"MessageBody": body} for _, body in call])
        for number, (size, _) in enumerate(call):
            refused += [failed.get(number)] * size
    count(EVENTS_QUEUED, refused.count(None))
    return refused


def bury(event: UsageEvent, reason: BillingError, now: datetime) -> None:
    """Put an event that cannot be recorded into the dead-letter queue, with the reason.

    Raises:
        QueueUnavailable: the queue did not take it.
    """
    bury_body(_body([_json(event, now)]), reason.code, reason.message)


def bury_body(body: str, code: str, detail: str) -> None:
    """Put a message's body into the dead-letter queue as it is, with the reason why it cannot be recorded.

    Raises:
        QueueUnavailable: the queue did not take it.
    """
    reason = {"code": code, "detail": detail[:1000]}
    attributes = {name: {"DataType": "String", "StringValue": value} for name, value in reason.items()}
    send(settings().usage_dead_letter_queue_url, body, attributes)


def send(url: str, body: str, attributes: dict[str, Any] | None = None) -> None:
    """Put one message into any queue.

    Raises:
        QueueUnavailable: the queue did not take it.
    """
    for failure in _send(url, [{"MessageBody": body, "MessageAttributes": attributes or {}}]).values():
        raise failure


def events_in(body: str) -> list[UsageEvent]:
    """The events of a message.

    Raises:
        ValueError: it is not a message of ours.
    """
    try:
        return [each.queued_event for each in QueuedEvents.model_validate(loads(body)).events]
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _calls(events: Sequence[UsageEvent], now: datetime) -> Iterator[list[tuple[int, str]]]:
    """The messages for `events`, in order, as many at a time as one call takes: number of events, and body."""
    call: list[tuple[int, str]] = []
    room = MOST_BYTES
    message: list[str] = []
    for text in (_json(event, now) for event in events):
        if message and (len(message) == MOST_EVENTS or len(text) > room):
            call.append((len(message), _body(message)))
            message = []
        if call and (len(call) == MOST_MESSAGES or len(text) > room):
            yield call
            call, room = [], MOST_BYTES
        message.append(text)
        room -= len(text)
    if message:
        call.append((len(message), _body(message)))
    if call:
        yield call


def _json(event: UsageEvent, now: datetime) -> str:
    fields = {
        "eventId": event.event_id,
        "userId": event.user_id,
        "subscriptionId": event.subscription_id,
        "usageType": event.usage_type,
        "quantity": event.quantity,
        "occurredAt": event.occurred_at and iso(event.occurred_at),
        "metadata": event.metadata,
        "acceptedAt": iso(event.accepted(now)),
    }
    return dumps({name: value for name, value in fields.items() if value})


def _body(events: list[str]) -> str:
    return f'{{"events":[{",".join(events)}]}}'


def _send(url: str, messages: list[dict[str, Any]]) -> dict[int, QueueUnavailable]:
    """The numbers of the messages that the queue did not take, and why."""
    entries = [{"Id": str(number), **message} for number, message in enumerate(messages)]
    try:
        answer = _queue().send_message_batch(QueueUrl=url, Entries=entries)
    except (BotoCoreError, ClientError) as error:
        logger.exception("queue unavailable", queue=url)
        return dict.fromkeys(range(len(messages)), _unavailable(error))
    failed = answer.get("Failed", [])
    if failed:
        logger.error("queue refused messages", queue=url, failed=failed)
    return {int(each["Id"]): _unavailable(None) for each in failed}


def _unavailable(cause: Exception | None) -> QueueUnavailable:
    error = QueueUnavailable("The queue did not take the event; send the same request again.")
    error.__cause__ = cause
    return error


@cache
def _queue() -> Any:
    return aws.client("sqs")
