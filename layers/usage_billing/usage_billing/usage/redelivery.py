"""Redelivery of queued events: which errors are temporary, when a message is delivered again, and how often. Pure."""

from usage_billing.kernel.errors import DatabaseUnavailable, InternalError, LedgerBusy

TEMPORARY = (LedgerBusy, DatabaseUnavailable, InternalError)
"""Errors that may go away when the event is tried again. All others are final."""

MAX_RECEIVES = 16
"""Deliveries of a message before SQS itself moves it to the dead-letter queue, without a reason."""

MIN_DELAY_SECONDS = 15
MAX_DELAY_SECONDS = 3600
"""The delay before a message is delivered again: short after its first delivery, then twice as long each time. All
deliveries together span eight hours."""


def delay_after(receives: int) -> int:
    """Return the seconds until a message is delivered again that has been delivered `receives` times."""
    return min(MAX_DELAY_SECONDS, MIN_DELAY_SECONDS << (receives - 1))
