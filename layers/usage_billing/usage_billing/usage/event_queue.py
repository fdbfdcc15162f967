"""The queue of usage events that are recorded later.

A message holds events as JSON, each with the time at which it was accepted. Every event in the queue is recorded once,
or becomes a dead event, however often its message is delivered.
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
"""Maximum events in a message: as many as fit into one transaction."""

MAX_BYTES = 200_000
"""Maximum size of all messages of one call. SQS accepts at least 256 KiB."""


@dataclass(frozen=True, slots=True)
class _Message:
    """A message to send, and the number of events in it."""

    body: str
    events: int


def enqueue(events: Sequence[UsageEvent], now: datetime, deadline: Deadline = NEVER) -> list[QueueUnavailable | None]:
    """Put events into the queue. Return None for each that is in it, else the error, in the order given.

    Once the deadline has passed, nothing more is sent.
    """
    failures = _send(_messages(event_json(event, now) for event in events), deadline)
    count(EVENTS_QUEUED, failures.count(None))
    return failures


def requeue(contents: Sequence[tuple[str, bool]], deadline: Deadline = NEVER) -> list[QueueUnavailable | None]:
    """Put contents of former messages into the queue again. Return None for each that is in it, in the order given.

    A content is an event's JSON, as `event_json` returned it, or if the second value is false the body of a message.
    """
    events = [text for text, is_event in contents if is_event]
    bodies = (_Message(text, 1) for text, is_event in contents if not is_event)
    failures = _send(chain(_messages(events), bodies), deadline)
    of_events, of_bodies = iter(failures[: len(events)]), iter(failures[len(events) :])
    return [next(of_events if is_event else of_bodies) for _, is_event in contents]


def _messages(events: Iterable[str]) -> Iterator[_Message]:
    """Pack events into messages, in order, as many as fit into each."""
    texts: list[str] = []
    room = MAX_BYTES
    for text in events:
        if texts and (len(texts) == MAX_EVENTS or len(text) > room):
            yield _Message(body_of(texts), len(texts))
            texts, room = [], MAX_BYTES
        texts.append(text)
        room -= len(text)
    if texts:
        yield _Message(body_of(texts), len(texts))


def _send(messages: Iterable[_Message], deadline: Deadline) -> list[QueueUnavailable | None]:
    """Send messages. Return for each event in them None, or why it was not sent, in their order."""
    failures: list[QueueUnavailable | None] = []
    for call in _calls(messages):
        if deadline.has_passed:
            refused = dict.fromkeys(range(len(call)), queues.unavailable(None))
        else:
            refused = queues.send_batch(settings().usage_queue_url, [{"MessageBody": each.body} for each in call])
        for place, message in enumerate(call):
            failures += [refused.get(place)] * message.events
    return failures


def _calls(messages: Iterable[_Message]) -> Iterator[list[_Message]]:
    """Group messages, in order, as many as one call may send."""
    call: list[_Message] = []
    room = MAX_BYTES
    for message in messages:
        size = len(message.body.encode())  # our messages are ASCII, but an unreadable body that is redriven may not be
        if call and (len(call) == queues.MAX_MESSAGES or size > room):
            yield call
            call, room = [], MAX_BYTES
        call.append(message)
        room -= size
    if call:
        yield call
