"""Instants as text: ISO 8601 in UTC. Pure."""

from datetime import UTC, datetime


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
