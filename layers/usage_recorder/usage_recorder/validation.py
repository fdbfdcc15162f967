"""Checks of an event's values before it is accepted. Pure.

An event that the service could never accept is refused at once, while the caller can still correct it.
"""

import re
from datetime import datetime
from decimal import Decimal, DecimalException

MAX_INTEGER_DIGITS = 12
MAX_DECIMAL_PLACES = 9

CUSTOMER_PREFIX = "customer:"
"""The service records an event that is sent with a user's token under its id with this prefix."""

RESERVED_PREFIXES = (CUSTOMER_PREFIX, "reversal:", "rating:", "closing:")
"""Prefixes of event ids that only the service itself assigns."""

_EVENT_ID = re.compile(r"[\x21-\x7e]{1,128}")
_IDENTIFIER = re.compile(r"[A-Za-z0-9_~:@|+=,-][A-Za-z0-9._~:@|+=,-]{0,127}")

Quantity = int | float | Decimal | str


def valid_event_id(value: object) -> str:
    """Return `value` if it is a valid event id.

    Raises:
        ValueError: the service would never accept it.
    """
    if not isinstance(value, str) or not _EVENT_ID.fullmatch(value):
        raise ValueError(f"event_id must be 1 to 128 printable ASCII characters without spaces, not {_shown(value)}")
    if value.startswith(RESERVED_PREFIXES):
        raise ValueError(f"event_id must not begin with {', '.join(RESERVED_PREFIXES)}; it is {_shown(value)}")
    return value


def valid_identifier(value: object, name: str) -> str:
    """Return `value` if it is a valid user id, subscription id or usage type; `name` is the argument's name.

    Raises:
        ValueError: the service would never accept it.
    """
    if not isinstance(value, str) or not _IDENTIFIER.fullmatch(value):
        raise ValueError(
            f"{name} must be 1 to 128 of the characters A-Z a-z 0-9 . _ ~ : @ | + = , - and must not begin with a dot;"
            f" it is {_shown(value)}"
        )
    return value


def exact_quantity(quantity: Quantity) -> Decimal:
    """Return `quantity` as a Decimal. A float counts as it is written: 0.1 is one tenth.

    Raises:
        ValueError: it is not a number, not greater than 0, or has more than 12 digits before or 9 after the point.
    """
    if isinstance(quantity, bool):
        raise ValueError("quantity must be a number, not a bool")
    try:
        # float's own repr: that of subclasses, such as numpy's, also has the type's name.
        number = Decimal(float.__repr__(quantity) if isinstance(quantity, float) else str(quantity))
    except DecimalException:
        raise ValueError(f"quantity must be a number, not {str(quantity)[:64]!r}") from None
    if not number.is_finite() or number <= 0:
        raise ValueError(f"quantity must be greater than 0, not {str(quantity)[:64]}")
    if number.adjusted() >= MAX_INTEGER_DIGITS or _decimal_places(number) > MAX_DECIMAL_PLACES:
        raise ValueError(
            f"quantity must have at most {MAX_INTEGER_DIGITS} digits before the decimal point"
            f" and {MAX_DECIMAL_PLACES} after it, not {str(quantity)[:64]}"
        )
    return number


def aware_time(moment: datetime) -> datetime:
    """Return `moment` if it has a time zone.

    Raises:
        ValueError: it has none.
    """
    if moment.utcoffset() is None:
        raise ValueError("occurred_at must have a time zone, such as datetime.now(UTC)")
    return moment


def _decimal_places(number: Decimal) -> int:
    """Return the number of digits after the point, without trailing zeros."""
    _, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)  # it is finite
    zeros = len(digits) - len("".join(map(str, digits)).rstrip("0"))
    return max(0, -(exponent + zeros))


def _shown(value: object) -> str:
    return repr(value)[:160]
