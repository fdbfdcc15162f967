"""JSON without floats: a number is an int or a Decimal, in and out."""

import json
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any

import simplejson

MAX_DIGITS = 4300
"""Of a number in plain notation. Python itself allows a whole number no more."""


def _encode(value: object) -> simplejson.RawJSON:
    if isinstance(value, Decimal):
        return simplejson.RawJSON(format(value, "f"))
    raise TypeError(f"{type(value).__name__} has no JSON form")


def dumps(value: object, *, sort_keys: bool = False, ascii_only: bool = False) -> str:
    """`value` as compact JSON; Decimals become numbers in plain notation. `ascii_only` escapes all other characters."""
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


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"the key {key[:64]!r} occurs twice in one object")
        result[key] = value
    return result


def _number(text: str) -> Decimal:
    """A number as it stands there. Its exponent is looked at first: 1e999999999 must not cost memory when written."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = None
    if number is None or abs(number.adjusted()) > MAX_DIGITS:
        raise _too_long()
    return number


def _integer(text: str) -> int:
    if len(text.removeprefix("-")) > MAX_DIGITS:
        raise _too_long()
    return int(text)


def _too_long() -> ValueError:
    return ValueError(f"a number has more than {MAX_DIGITS} digits")


def _not_json(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def loads(text: str | bytes) -> Any:
    """Parse JSON exactly.

    Raises:
        ValueError: not JSON, NaN or Infinity, a key twice in one object, or a number of more than `MAX_DIGITS` digits.
        RecursionError: nested beyond what Python's parser takes.
    """
    return json.loads(text, parse_float=_number, parse_int=_integer, parse_constant=_not_json, object_pairs_hook=_once)
