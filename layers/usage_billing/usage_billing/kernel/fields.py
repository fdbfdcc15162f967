"""Types of JSON fields: quantities, prices, amounts, instants and printable text. Pure."""

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
    ValidationError,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic_core import InitErrorDetails

from usage_billing.kernel.errors import FieldError
from usage_billing.kernel.instants import iso, utc
from usage_billing.kernel.numbers import ZERO, as_text, canonical

INTEGER_DIGITS = 12
DECIMAL_PLACES = 9

INSTANT_RULE = "must be an ISO 8601 instant with a time zone, such as 2026-11-01T12:00:00Z"


class Strict(BaseModel):
    """Base model: frozen, camelCase in JSON, and an unknown field is an error.

    The text of a validation error does not contain the input, so that a log never shows what a caller sent.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True, hide_input_in_errors=True
    )


class BrokenRule(ValueError):
    """A broken rule between fields, in the `ctx` of pydantic's error."""

    def __init__(self, error: FieldError) -> None:
        super().__init__(error.message)
        self.code = error.code


def invalid_fields(*errors: FieldError) -> ValidationError:
    """Return the exception for a validator of several fields to raise.

    Pydantic puts the path of the model before those of the fields. It would report a ValueError for the whole model.
    """
    details = [
        InitErrorDetails(
            type="value_error", loc=tuple(each.field.split(".")), input=None, ctx={"error": BrokenRule(each)}
        )
        for each in errors
    ]
    return ValidationError.from_exception_data("fields", details)


def _exact_decimal(value: object) -> Decimal:
    """Return a JSON number as an exact Decimal with at most 12 digits before the decimal point and 9 after it."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("must be a JSON number")
    number = Decimal(value)
    if not number.is_finite():
        raise ValueError("must be a finite number")
    # Check the exponent before computing anything: writing out 1e999999999 would fill the memory.
    if number and number.adjusted() >= INTEGER_DIGITS:
        raise ValueError(f"must have at most {INTEGER_DIGITS} digits before the decimal point")
    exponent = number.as_tuple().exponent
    if len(number.as_tuple().digits) > 2 * (INTEGER_DIGITS + DECIMAL_PLACES) or not isinstance(exponent, int):
        raise ValueError("has too many digits")
    if number and number.adjusted() < -DECIMAL_PLACES:
        raise ValueError(f"must have at most {DECIMAL_PLACES} digits after the decimal point")
    number = canonical(number) if number else ZERO
    if number.as_tuple().exponent < -DECIMAL_PLACES:  # type: ignore[operator]
        raise ValueError(f"must have at most {DECIMAL_PLACES} digits after the decimal point")
    return number


def _exact_decimal_or_text(value: object) -> Decimal:
    if not isinstance(value, str):
        return _exact_decimal(value)
    if not re.fullmatch(r"-?[0-9]{1,32}(\.[0-9]{1,32})?", value):
        raise ValueError('must be a decimal number such as "10.00"')
    return _exact_decimal(Decimal(value))


def _require_positive(value: Decimal) -> Decimal:
    if value <= 0:
        raise ValueError("must be greater than 0")
    return value


def _require_not_negative(value: Decimal) -> Decimal:
    if value < 0:
        raise ValueError("must not be negative")
    return value


_AMOUNT_SCHEMA = {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$", "examples": ["10.00"]}
_UPPER_BOUND = 10**INTEGER_DIGITS

Quantity = Annotated[
    Decimal,
    BeforeValidator(_exact_decimal),
    AfterValidator(_require_positive),
    WithJsonSchema(
        {
            "type": "number",
            "exclusiveMinimum": 0,
            "exclusiveMaximum": _UPPER_BOUND,
            "description": f"at most {DECIMAL_PLACES} digits after the decimal point",
            "examples": [1],
        }
    ),
]
"""A used quantity: greater than 0, at most 12 digits before the decimal point and 9 after it; an exact JSON number."""

Limit = Annotated[
    Decimal,
    BeforeValidator(_exact_decimal),
    AfterValidator(_require_not_negative),
    WithJsonSchema(
        {
            "type": "number",
            "minimum": 0,
            "exclusiveMaximum": _UPPER_BOUND,
            "description": f"at most {DECIMAL_PLACES} digits after the decimal point",
            "examples": [50],
        }
    ),
]
"""The units that a plan includes: like a quantity, but 0 is allowed."""

Total = Annotated[Decimal, WithJsonSchema({"type": "number"})]
"""A sum of quantities in a response; an exact JSON number."""

UnitPrice = Annotated[
    Decimal,
    BeforeValidator(_exact_decimal_or_text),
    AfterValidator(_require_not_negative),
    PlainSerializer(as_text, return_type=str),
    WithJsonSchema(_AMOUNT_SCHEMA, mode="serialization"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^[0-9]{1,12}(\.[0-9]{1,9})?$"},
                {"type": "number", "minimum": 0, "exclusiveMaximum": _UPPER_BOUND},
            ],
            "examples": ["10.00"],
        },
        mode="validation",
    ),
]
"""The price of one unit: not negative, at most 12 digits before the decimal point and 9 after it.

Requests contain it as text or as a JSON number, responses as text.
"""

Amount = Annotated[Decimal, PlainSerializer(as_text, return_type=str), WithJsonSchema(_AMOUNT_SCHEMA)]
"""Money in a response: text with the digits of the currency's minor unit, such as "20.00"."""


def _require_printable(text: str) -> str:
    if any(unicodedata.category(character).startswith("C") for character in text):
        raise ValueError("must contain only printable characters")
    return text


PrintableText = Annotated[
    str, Field(min_length=1, max_length=128, description="printable characters"), AfterValidator(_require_printable)
]


def _in_utc(moment: datetime) -> datetime:
    try:
        return utc(moment)
    except OverflowError:
        raise ValueError("must be a year from 1 to 9999 in UTC") from None


def _require_iso_text(value: object) -> object:
    """Reject everything but ISO 8601 text: pydantic would read a bare number as seconds or milliseconds."""
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or len(value) < len("2026-01-01T00:00Z"):
        raise ValueError(INSTANT_RULE)
    return value


Instant = Annotated[
    AwareDatetime,
    BeforeValidator(_require_iso_text),
    AfterValidator(_in_utc),
    PlainSerializer(iso, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""An instant with a time zone, converted to UTC."""

FIRST_YEAR, LAST_YEAR = 1970, 2200

_BOUND_PATTERN = (
    r"^(197[1-9]|19[89][0-9]|2[01][0-9]{2})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])$"
)
"""The years 1971 to 2199: an instant with an offset may be in the year before or after in UTC. A schema that said more
would allow instants that are refused."""


def _require_bound(moment: datetime) -> datetime:
    if moment.microsecond:
        raise ValueError("must be a whole second, without a fraction")
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise ValueError(f"must be in the years {FIRST_YEAR} to {LAST_YEAR}")
    return moment


Bound = Annotated[
    Instant,
    AfterValidator(_require_bound),
    WithJsonSchema(
        {
            "type": "string",
            "format": "date-time",
            "pattern": _BOUND_PATTERN,
            "description": f"a whole second in the years {FIRST_YEAR} to {LAST_YEAR}",
        }
    ),
]
"""An instant at which something begins or ends: a whole second in the years 1970 to 2200, in UTC."""
