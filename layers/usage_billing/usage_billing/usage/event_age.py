"""The age at which usage events are still accepted. Pure."""

from datetime import datetime, timedelta

MAX_AGE = timedelta(days=366)
"""Maximum age of an event that is accepted."""

CLOCK_SKEW = timedelta(minutes=15)
"""Maximum by which a caller's clock may be ahead of ours."""


def timely(occurred_at: datetime, now: datetime) -> bool:
    """Return whether an event of `occurred_at` may be accepted at `now`."""
    return now - MAX_AGE <= occurred_at <= now + CLOCK_SKEW
