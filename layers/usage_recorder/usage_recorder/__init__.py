"""Record usage events with the usage billing service: buffered, retried, counted once."""

from usage_recorder.default import record_usage
from usage_recorder.errors import (
    BufferFull,
    NotAcknowledged,
    RecorderClosed,
    RecorderError,
    SpoolFailed,
    UsageRejected,
)
from usage_recorder.events import UsageEvent
from usage_recorder.lifetime import exit_on_sigterm
from usage_recorder.outcomes import Acknowledged, Problem
from usage_recorder.parking import ParkedEvent
from usage_recorder.recorder import UsageRecorder
from usage_recorder.retries import Pauses

__all__ = [
    "Acknowledged",
    "BufferFull",
    "NotAcknowledged",
    "ParkedEvent",
    "Pauses",
    "Problem",
    "RecorderClosed",
    "RecorderError",
    "SpoolFailed",
    "UsageEvent",
    "UsageRecorder",
    "UsageRejected",
    "exit_on_sigterm",
    "record_usage",
]
