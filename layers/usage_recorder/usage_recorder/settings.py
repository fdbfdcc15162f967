"""The settings of a delivery. `UsageRecorder` documents what each means."""

from dataclasses import dataclass, field

from usage_recorder.retries import Pauses

CLAIM_REQUESTS = 3
"""A batch in a spool is claimed for the time of this many requests. Then another process may send it."""

MIN_ATTEMPT_SECONDS = 0.1
"""The time an attempt gets even if its deadline has passed when it begins."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All durations are in seconds."""

    max_batch: int
    linger: float
    full_timeout: float
    request_timeout: float
    flush_timeout: float
    pauses: Pauses = field(default_factory=Pauses)

    @property
    def claim_seconds(self) -> float:
        """The time for which other processes leave a batch alone that is being sent."""
        return CLAIM_REQUESTS * self.request_timeout
