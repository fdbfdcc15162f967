"""A usage event and its exact JSON. Pure: no clock, no environment."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

MAX_EVENT_BYTES = 8_192
"""More than the service accepts (2 KB of metadata). It bounds the size of a buffer: 10,000 events are 82 MB."""

_MAX_NUMBER_DIGITS = 100


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """Usage as a service reports it. `quantity` is exact, and the times are aware.

    `occurred_at` is when the work was done, if the caller gave it; otherwise `reported_at` is when `record` was
    called. One of the two is always set.
    """

    event_id: str
    user_id: str
    subscription_id: str
    usage_type: str
    quantity: Decimal
    occurred_at: datetime | None
    metadata: Mapping[str, Any]
    reported_at: datetime | None = None

    @property
    def when(self) -> datetime:
        """The time that decides the billing period."""
        moment = self.occurred_at or self.reported_at
        assert moment is not None
        return moment

    def to_json(self) -> str:
        """Return compact JSON in ASCII, so its length is its size in bytes.

        Raises:
            ValueError: a value cannot be written as JSON, or the JSON has more than `MAX_EVENT_BYTES`.
        """
        fields: dict[str, object] = {
            "eventId": self.event_id,
            "userId": self.user_id,
            "subscriptionId": self.subscription_id,
            "usageType": self.usage_type,
            "quantity": self.quantity,
        }
        if self.occurred_at:
            fields["occurredAt"] = _format_time(self.occurred_at)
        if self.reported_at:
            fields["reportedAt"] = _format_time(self.reported_at)
        try:
            text = _exact_json(fields | {"metadata": self.metadata})
        except RecursionError:
            raise ValueError("metadata is nested too deeply") from None
        if len(text) > MAX_EVENT_BYTES:
            raise ValueError(f"an event must have at most {MAX_EVENT_BYTES} bytes; this one has {len(text)}")
        return text

    @classmethod
    def from_json(cls, text: str) -> "UsageEvent":
        """The inverse of `to_json`. Fields that another version added are ignored."""
        fields = json.loads(text, parse_float=Decimal)
        return cls(
            event_id=fields["eventId"],
            user_id=fields["userId"],
            subscription_id=fields["subscriptionId"],
            usage_type=fields["usageType"],
            quantity=Decimal(fields["quantity"]),
            occurred_at=_parse_time(fields.get("occurredAt")),
            metadata=fields["metadata"],
            reported_at=_parse_time(fields.get("reportedAt")),
        )


def _parse_time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _format_time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _exact_json(value: object) -> str:
    """As `json.dumps`, but with Decimals as exact numbers in plain notation."""
    if isinstance(value, Decimal):
        return _plain_number(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_key(key)}:{_exact_json(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_exact_json, value)) + "]"
    if value is None or isinstance(value, str | int | float):
        return json.dumps(value, allow_nan=False)
    raise ValueError(f"{type(value).__name__} cannot be written as JSON")


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise ValueError(f"the keys of metadata must be str, not {type(key).__name__}")
    return json.dumps(key)


def _plain_number(number: Decimal) -> str:
    """Check the exponent first: writing out 1e999999999 would exhaust the memory."""
    if not number.is_finite() or abs(number.adjusted()) > _MAX_NUMBER_DIGITS:
        raise ValueError(f"{number} cannot be written as JSON")
    return format(number, "f")
