"""A usage event and its exact JSON. Pure: no clock, no environment."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, DecimalException
from typing import Any

INTEGER_DIGITS = 12
DECIMAL_PLACES = 9
MAX_EVENT_BYTES = 8_192
"""More than the service takes of one event (2 KB of metadata); it bounds what a buffer can hold: 10,000 are 82 MB."""

CUSTOMER_PREFIX = "customer:"
"""The service records a customer's event, one that is sent with a user's token, under its id with this before it."""

RESERVED_PREFIXES = (CUSTOMER_PREFIX, "reversal:", "rating:", "closing:")
"""Event ids that begin like this are the service's own."""

_EVENT_ID = re.compile(r"[\x21-\x7e]{1,128}")
_IDENTIFIER = re.compile(r"[A-Za-z0-9_~:@|+=,-][A-Za-z0-9._~:@|+=,-]{0,127}")
_WIDEST_NUMBER = 100

Quantity = int | float | Decimal | str


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """What a service reports. `quantity` is exact, the times are aware.

    `occurred_at` is when the work was done, where the caller said so; `reported_at` is when `record` was called, where
    not. One of them is there.
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
        """Compact JSON in ASCII, so that characters are bytes.

        Raises:
            ValueError: it has no JSON form, or one of more than `MAX_EVENT_BYTES`.
        """
        fields: dict[str, object] = {
            "eventId": self.event_id,
            "userId": self.user_id,
            "subscriptionId": self.subscription_id,
            "usageType": self.usage_type,
            "quantity": self.quantity,
        }
        if self.occurred_at:
            fields["occurredAt"] = _iso(self.occurred_at)
        if self.reported_at:
            fields["reportedAt"] = _iso(self.reported_at)
        try:
            text = _json(fields | {"metadata": self.metadata})
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
            occurred_at=_instant(fields.get("occurredAt")),
            metadata=fields["metadata"],
            reported_at=_instant(fields.get("reportedAt")),
        )


def event_id_of(text: object) -> str:
    """`text`, if the service takes it for an event id.

    Raises:
        ValueError: it does not, however often it is sent.
    """
    if not isinstance(text, str) or not _EVENT_ID.fullmatch(text):
        raise ValueError(f"event_id must be 1 to 128 printable ASCII characters without spaces, not {_shown(text)}")
    if text.startswith(RESERVED_PREFIXES):
        raise ValueError(f"event_id must not begin with {', '.join(RESERVED_PREFIXES)}; it is {_shown(text)}")
    return text


def identifier(text: object, name: str) -> str:
    """`text`, if the service takes it for the id of a user or a subscription or for a usage type, which `name` says.

    Raises:
        ValueError: it does not, however often it is sent.
    """
    if not isinstance(text, str) or not _IDENTIFIER.fullmatch(text):
        raise ValueError(
            f"{name} must be 1 to 128 of the characters A-Z a-z 0-9 . _ ~ : @ | + = , -, the first of them no dot,"
            f" not {_shown(text)}"
        )
    return text


def _shown(value: object) -> str:
    return repr(value)[:160]


def exact(quantity: Quantity) -> Decimal:
    """`quantity` as a Decimal. A float counts as what it is written as: 0.1 is one tenth.

    Raises:
        ValueError: it is not a number, not greater than 0, or has more than 12 digits before or 9 after the point.
    """
    if isinstance(quantity, bool):
        raise ValueError("quantity must be a number, not a bool")
    try:
        # float's own repr: subclasses such as numpy's write their type around the number.
        number = Decimal(float.__repr__(quantity) if isinstance(quantity, float) else str(quantity))
    except DecimalException:
        raise ValueError(f"quantity must be a number, not {str(quantity)[:64]!r}") from None
    if not number.is_finite() or number <= 0:
        raise ValueError(f"quantity must be greater than 0, not {str(quantity)[:64]}")
    if number.adjusted() >= INTEGER_DIGITS or _places(number) > DECIMAL_PLACES:
        raise ValueError(
            f"quantity must have at most {INTEGER_DIGITS} digits before and {DECIMAL_PLACES} after the point,"
            f" not {str(quantity)[:64]}"
        )
    return number


def _places(number: Decimal) -> int:
    """Digits after the point, trailing zeros not counted."""
    _, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)  # it is finite
    zeros = len(digits) - len("".join(map(str, digits)).rstrip("0"))
    return max(0, -(exponent + zeros))


def aware(moment: datetime) -> datetime:
    """`moment`, if it says in which time zone it is.

    Raises:
        ValueError: it does not.
    """
    if moment.utcoffset() is None:
        raise ValueError("occurred_at must have a time zone, such as datetime.now(UTC)")
    return moment


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _json(value: object) -> str:
    """As `json.dumps`, but Decimals are numbers, exact, in plain notation."""
    if isinstance(value, Decimal):
        return _plain(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_key(key)}:{_json(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_json, value)) + "]"
    if value is None or isinstance(value, str | int | float):
        return json.dumps(value, allow_nan=False)
    raise ValueError(f"{type(value).__name__} has no JSON form")


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise ValueError(f"the keys of metadata must be str, not {type(key).__name__}")
    return json.dumps(key)


def _plain(number: Decimal) -> str:
    """The exponent is looked at first: 1e999999999 must not cost memory."""
    if not number.is_finite() or abs(number.adjusted()) > _WIDEST_NUMBER:
        raise ValueError(f"{number} has no JSON form here")
    return format(number, "f")
