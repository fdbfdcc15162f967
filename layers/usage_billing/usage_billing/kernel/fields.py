"""The types of JSON fields: quantities, prices, amounts, instants, printable text. Pure."""

import re
import unicodedata
from datetime import datetime
from decimal import Decimal
from typing import Annotated

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel

from usage_billing.kernel.instants import iso, utc
from usage_billing.kernel.numbers import ZERO, as_text, canonical

INTEGER_DIGITS = 12
DECIMAL_PLACES = 9

INSTANT_RULE = "must be an ISO 8601 instant with a time zone, such as 2026-11-01T12:00:00Z"


class Strict(BaseModel):
    """A frozen value with camelCase JSON, in which an unknown field is an error.

    A validation error that ends in a log as text does not show what the caller sent.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True, hide_input_in_errors=True
    )


def _decimal(value: object) -> Decimal:
    """A JSON number as an exact Decimal of at most 12 digits before and 9 after the point."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("must be a JSON number")
    number = Decimal(value)
    if not number.is_finite():
        raise ValueError("must be a finite number")
    # The exponent is looked at before anything is computed: 1e999999999 must not cost memory.
    if number and number.adjusted() >= INTEGER_DIGITS:
        raise ValueError(f"must have at most {INTEGER_DIGITS} digits before the point")
    exponent = number.as_tuple().exponent
    if len(number.as_tuple().digits) > 2 * (INTEGER_DIGITS + DECIMAL_PLACES) or not isinstance(exponent, int):
        raise ValueError("has too many digits")
    if number and number.adjusted() < -DECIMAL_PLACES:
        raise ValueError(f"must have at most {DECIMAL_PLACES} digits after the point")
    number = canonical(number) if number else ZERO
    if number.as_tuple().exponent < -DECIMAL_PLACES:  # type: ignore[operator]
        raise ValueError(f"must have at most {DECIMAL_PLACES} digits after the point")
    return number


def _decimal_or_text(value: object) -> Decimal:
    if not isinstance(value, str):
        return _decimal(value)
    if not re.fullmatch(r"-?[0-9]{1,32}(\.[0-9]{1,32})?", value):
        raise ValueError('must be a decimal number such as "10.00"')
    return _decimal(Decimal(value))


def _positive(value: Decimal) -> Decimal:
    if value <= 0:
        raise ValueError("must be greater than 0")
    return value


def _not_negative(value: Decimal) -> Decimal:
    if value < 0:
        raise ValueError("must not be negative")
    return value


_AMOUNT_SCHEMA = {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$", "examples": ["10.00"]}
_LARGEST = 10**INTEGER_DIGITS

Quantity = Annotated[
    Decimal,
    BeforeValidator(_decimal),
    AfterValidator(_positive),
    WithJsonSchema(
        {
            "type": "number",
            "exclusiveMinimum": 0,
            "exclusiveMaximum": _LARGEST,
            "description": f"at most {DECIMAL_PLACES} digits after the point",
            "examples": [1],
        }
    ),
]
"""How much was used: more than 0, at most 12 digits before and 9 after the point. A JSON number, exact."""

Limit = Annotated[
    Decimal,
    BeforeValidator(_decimal),
    AfterValidator(_not_negative),
    WithJsonSchema(
        {
            "type": "number",
            "minimum": 0,
            "exclusiveMaximum": _LARGEST,
            "description": f"at most {DECIMAL_PLACES} digits after the point",
            "examples": [50],
        }
    ),
]
"""How much a plan includes: like a quantity, but 0 is allowed."""

Total = Annotated[Decimal, WithJsonSchema({"type": "number"})]
"""A sum of quantities in an answer. A JSON number, exact."""

UnitPrice = Annotated[
    Decimal,
    BeforeValidator(_decimal_or_text),
    AfterValidator(_not_negative),
    PlainSerializer(as_text, return_type=str),
    WithJsonSchema(_AMOUNT_SCHEMA, mode="serialization"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^[0-9]{1,12}(\.[0-9]{1,9})?$"},
                {"type": "number", "minimum": 0, "exclusiveMaximum": _LARGEST},
            ],
            "examples": ["10.00"],
        },
        mode="validation",
    ),
]
"""The price of one unit: not negative, 12 digits before and 9 after the point. Text or a JSON number in, text out."""

Amount = Annotated[Decimal, PlainSerializer(as_text, return_type=str), WithJsonSchema(_AMOUNT_SCHEMA)]
"""Money in an answer: text with the currency's minor units, as in "20.00"."""


def _printable(text: str) -> str:
    if any(unicodedata.category(character).startswith("C") for character in text):
        raise ValueError("must consist of printable characters")
    return text


PrintableText = Annotated[
    str, Field(min_length=1, max_length=128, description="printable characters"), AfterValidator(_printable)
]


def _instant(moment: datetime) -> datetime:
    try:
        return utc(moment)
    except OverflowError:
        raise ValueError("must be a year from 1 to 9999 in UTC") from None


def _iso_text(value: object) -> object:
    """Only ISO 8601 text: a bare number would be taken for seconds or milliseconds by its size."""
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or len(value) < len("2026-01-01T00:00Z"):
        raise ValueError(INSTANT_RULE)
    return value


Instant = Annotated[
    AwareDatetime,
    BeforeValidator(_iso_text),
    AfterValidator(_instant),
    PlainSerializer(iso, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""An aware instant, in UTC."""
