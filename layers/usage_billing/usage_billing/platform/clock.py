"""The only reader of the clock. Handlers call it once and pass the instant on."""

from datetime import UTC, datetime


def now() -> datetime:
    """Return the current instant in UTC, to the millisecond."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
