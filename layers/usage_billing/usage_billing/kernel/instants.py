"""Instants as text: ISO 8601 in UTC. Pure."""

from datetime import UTC, datetime


def utc(moment: datetime) -> datetime:
    """The same instant in UTC."""
    return moment.astimezone(UTC)


def iso(moment: datetime) -> str:
    """ISO 8601 in UTC with a `Z`, the fraction of a second as short as it goes."""
    seconds, _, fraction = utc(moment).isoformat().removesuffix("+00:00").partition(".")
    fraction = fraction.rstrip("0")
    return f"{seconds}.{fraction}Z" if fraction else f"{seconds}Z"


def sortable(moment: datetime) -> str:
    """Return ISO 8601 in UTC to the millisecond, always as long: such texts sort like their instants."""
    return utc(moment).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def instant(text: str) -> datetime:
    """The inverse of `iso` and `sortable`."""
    return datetime.fromisoformat(text)
