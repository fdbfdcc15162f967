"""The queue of usage events that are recorded later.

A message holds some events as JSON, each with the instant at which we took it. Every event in the queue is recorded
once or becomes a dead event; being delivered again changes nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain

from usage_billing.kernel.errors import QueueUnavailable
from usage_billing.platform import queues
from usage_billing.platform.config import settings
from usage_billing.platform.deadline import NEVER, Deadline
from usage_billing.platform.observability import EVENTS_QUEUED, count
from usage_billing.usage.events import UsageEvent
from usage_billing.usage.messages import body_of, event_json

MAX_EVENTS = 99
"""How many events a message may hold: as many as one transaction takes."""

MAX_BYTES = 200_000
"""How large a call's messages may be together; SQS takes at least 256 KiB."""


@dataclass(frozen=True, slots=True)
class _Message:
    """A message to send, and the numbers of the events in it."""

    numbers: Sequence[int]
    body: str


def enqueue(events: Sequence[UsageEvent], now: datetime, deadline: Deadline = NEVER) -> list[QueueUnavailable | None]:
    """Put events into the queue; None for each that is in it, in the order given.

    Once the deadline has passed, nothing more is sent.
    """
    failed = _post(_messages(enumerate(event_json(event, now) for event in events)), deadline)
    count(EVENTS_QUEUED, len(events) - len(failed))
    return [failed.get(number) for number in range(len(events))]


def requeue(contents: Sequence[tuple[str, bool]], deadline: Deadline = NEVER) -> list[QueueUnavailable | None]:
    """Put what was in the queue before into it again; None for each that is in it, in the order given.

    A content is an event's JSON, as `event_json` made it, or where the second value is false a message's whole body.
    """
    events = _messages((number, text) for number, (text, is_event) in enumerate(contents) if is_event)
    bodies = (_Message([number], text) for number, (text, is_event) in enumerate(contents) if not is_event)
    failed = _post(chain(events, bodies), deadline)
    return [failed.get(number) for number in range(len(contents))]


def _messages(events: Iterable[tuple[int, str]]) -> Iterator[_Message]:
    """The messages for numbered events' JSON, in order, each as full as it may be."""
    numbers: list[int] = []
    texts: list[str] = []
    room = MAX_BYTES
    for number, text in events:
        if texts and (len(texts) == MAX_EVENTS or len(text) > room):
            yield _Message(numbers, body_of(texts))
            numbers, texts, room = [], [], MAX_BYTES
        numbers.append(number)
        texts.append(text)
        room -= len(text)
    if texts:
        yield _Message(numbers, body_of(texts))


def _post(messages: Iterable[_Message], deadline: Deadline) -> dict[int, QueueUnavailable]:
    """Send messages; the numbers of the events that the queue did not take, and why."""
    failed: dict[int, QueueUnavailable] = {}
    for call in _calls(messages):
        if deadline.has_passed:
            refused = dict.fromkeys(range(len(call)), queues.unavailable(None))
        else:
            refused = queues.send_batch(settings().usage_queue_url, [{"MessageBody": each.body} for each in call])
        failed |= {number: error for place, error in refused.items() for number in call[place].numbers}
    return failed


def _calls(messages: Iterable[_Message]) -> Iterator[list[_Message]]:
    """Messages in order, as many at a time as one call takes."""
    call: list[_Message] = []
    room = MAX_BYTES
    for message in messages:
        size = len(message.body.encode())  # ours are ASCII, but bodies from elsewhere are sent again too
        if call and (len(call) == queues.MAX_MESSAGES or size > room):
            yield call
            call, room = [], MAX_BYTES
        call.append(message)
        room -= size
    if call:
        yield call
