"""The metadata of a usage event, and its limits. Pure."""

from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, WithJsonSchema

from usage_billing.kernel.exact_json import dumps

MAX_BYTES = 2048
MAX_KEYS = 50
MAX_DEPTH = 3


def _deeper_than(levels: int, value: object) -> bool:
    """Return whether objects and lists are nested deeper than `levels`. It stops there, so no depth is too much."""
    if not isinstance(value, dict | list):
        return False
    children = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper_than(levels - 1, child) for child in children)


def _count_keys(value: object) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(_count_keys, value.values()))
    return sum(map(_count_keys, value)) if isinstance(value, list) else 0


def _digits(value: object) -> int:
    """Return a lower bound for the digits of all numbers when written out. Stop counting beyond `MAX_BYTES`."""
    if isinstance(value, Decimal):
        return abs(value.adjusted())
    if not isinstance(value, dict | list):
        return 0
    digits = 0
    for child in value.values() if isinstance(value, dict) else value:
        digits += _digits(child)
        if digits > MAX_BYTES:
            break
    return digits


def _metadata(value: dict[str, Any]) -> dict[str, Any]:
    if _deeper_than(MAX_DEPTH, value):
        raise ValueError(f"must not be nested deeper than {MAX_DEPTH} levels")
    if _count_keys(value) > MAX_KEYS:
        raise ValueError(f"must have at most {MAX_KEYS} keys")
    if _digits(value) > MAX_BYTES:  # checked before the numbers are written out: 1e4299 is short, but has 4300 digits
        raise ValueError(f"must take at most {MAX_BYTES} bytes as JSON")
    try:
        size = len(dumps(value).encode())
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode text") from None
    if size > MAX_BYTES:
        raise ValueError(f"must take at most {MAX_BYTES} bytes as JSON, takes {size}")
    return value


Metadata = Annotated[
    dict[str, Any],
    AfterValidator(_metadata),
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": True,
            "maxProperties": MAX_KEYS,
            "description": f"at most {MAX_BYTES} bytes as JSON, {MAX_KEYS} keys, {MAX_DEPTH} levels",
        }
    ),
]
"""Data that a service attaches to an event: at most 2 KB of JSON, 50 keys and 3 levels."""
