"""Instants as text: ISO 8601 in UTC. How soon a change can take effect. Pure."""

from datetime import UTC, datetime, timedelta

_LEAD = timedelta(seconds=15)
"""Longer than it takes until a write by the oldest read allowed has ended (`platform/start_times.py`)."""


def utc(moment: datetime) -> datetime:
    """Return the same instant in UTC."""
    return moment.astimezone(UTC)


def iso(moment: datetime) -> str:
    """Return ISO 8601 in UTC with a `Z`, without trailing zeros in the fraction of a second."""
    seconds, _, fraction = utc(moment).isoformat().removesuffix("+00:00").partition(".")
    fraction = fraction.rstrip("0")
    return f"{seconds}.{fraction}Z" if fraction else f"{seconds}Z"


def sortable(moment: datetime) -> str:
    """Return ISO 8601 in UTC to the millisecond. The length is always the same, so the texts sort like the instants."""
    return utc(moment).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def instant(text: str) -> datetime:
    """Parse what `iso` or `sortable` returned."""
    return datetime.fromisoformat(text)


def soon(now: datetime) -> datetime:
    """Return the earliest instant, in whole seconds, at which a change that is read for at `now` may take effect.

    The change is written before that instant. So whoever reads at or after it sees the change, and whether the change
    holds for an earlier instant never depends on who was faster.
    """
    seconds = (now + _LEAD).replace(microsecond=0)
    return seconds if seconds == now + _LEAD else seconds + timedelta(seconds=1)
