"""Exact JSON: numbers are read and written as int or Decimal, never as float."""

import json
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any

import simplejson

MAX_DIGITS = 4300
"""Maximum digits of a number without an exponent. Python has the same limit for integers."""


def _encode(value: object) -> simplejson.RawJSON:
    if isinstance(value, Decimal):
        return simplejson.RawJSON(format(value, "f"))
    raise TypeError(f"{type(value).__name__} has no JSON form")


def dumps(value: object, *, sort_keys: bool = False, ascii_only: bool = False) -> str:
    """Return `value` as compact JSON, with Decimals in plain digits. `ascii_only` escapes all other characters."""
    text: str = _encoder(sort_keys, ascii_only).encode(value)
    return text


@cache
def _encoder(sort_keys: bool, ascii_only: bool) -> simplejson.JSONEncoder:
    return simplejson.JSONEncoder(
        default=_encode,
        use_decimal=False,
        allow_nan=False,
        ensure_ascii=ascii_only,
        separators=(",", ":"),
        sort_keys=sort_keys,
    )


def _unique_keys(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"the key {key[:64]!r} occurs twice in one object")
        result[key] = value
    return result


def _parse_decimal(text: str) -> Decimal:
    """Parse a number exactly. Reject a huge exponent at once: writing out 1e999999999 would fill the memory."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = None
    if number is None or abs(number.adjusted()) > MAX_DIGITS:
        raise _too_many_digits()
    return number


def _parse_integer(text: str) -> int:
    if len(text.removeprefix("-")) > MAX_DIGITS:
        raise _too_many_digits()
    return int(text)


def _too_many_digits() -> ValueError:
    return ValueError(f"a number has more than {MAX_DIGITS} digits")


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def loads(text: str | bytes) -> Any:
    """Parse JSON exactly.

    Raises:
        ValueError: not JSON, NaN or Infinity, a duplicate key, or a number of more than `MAX_DIGITS` digits.
        RecursionError: nested more deeply than Python's parser can handle.
    """
    return json.loads(
        text,
        parse_float=_parse_decimal,
        parse_int=_parse_integer,
        parse_constant=_reject_constant,
        object_pairs_hook=_unique_keys,
    )
