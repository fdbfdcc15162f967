"""What can go wrong when usage is recorded. A `ValueError` is raised for what can never be an event."""

from usage_recorder.answers import Problem
from usage_recorder.events import UsageEvent


class RecorderError(Exception):
    """Base of all."""


class BufferFull(RecorderError):
    """`max_buffered` events were unsent and it stayed so; this event was not accepted."""


class RecorderClosed(RecorderError):
    """The recorder takes no more events; this one was not accepted."""


class SpoolFailed(RecorderError):
    """The spool could not be read or written; an event that was being recorded was not accepted."""


class NotAcknowledged(RecorderError):
    """The service has not taken the event yet: it did not answer in time, or refused it for a cause that may pass.

    The event is not lost: it goes on being sent. Recording the same usage again is safe only with the same `event_id`.
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
