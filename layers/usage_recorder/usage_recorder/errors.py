"""Errors raised while recording usage. An event that can never be valid raises `ValueError` instead.

RecorderError
+-- BufferFull          the event was not accepted
+-- RecorderClosed      the event was not accepted
+-- SpoolFailed         the event was not accepted
+-- NotAcknowledged     the event was accepted, and is sent until the service answers
+-- UsageRejected       the event was accepted, refused by the service, and parked
"""

from usage_recorder.events import UsageEvent
from usage_recorder.outcomes import Problem


class RecorderError(Exception):
    """Base class of all errors."""


class BufferFull(RecorderError):
    """`max_buffered` events were unsent, and no room came free in time. The event was not accepted."""


class RecorderClosed(RecorderError):
    """The recorder accepts no more events. The event was not accepted."""


class SpoolFailed(RecorderError):
    """The spool could not be read or written. An event that was being recorded was not accepted."""


class NotAcknowledged(RecorderError):
    """The service does not have the event yet: it did not answer in time, or refused it for a temporary cause.

    The event is not lost: it is sent until the service answers. Recording the same usage again is safe only with the
    same `event_id`.
    """

    def __init__(self, event_id: str, reason: str) -> None:
        super().__init__(f"event {event_id} is not acknowledged yet: {reason}")
        self.event_id = event_id


class UsageRejected(RecorderError):
    """The service refused the event. It is parked: see `UsageRecorder.parked`."""

    def __init__(self, event: UsageEvent, problem: Problem) -> None:
        super().__init__(f"event {event.event_id} is rejected: {problem}")
        self.event = event
        self.problem = problem
