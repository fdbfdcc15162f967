"""The small types everything is made of: exact numbers, instants, identifiers.

Pure: no AWS, no clock, no environment.
"""

import re
import unicodedata
from datetime import UTC, datetime
from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from typing import Annotated, Any

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

from usage_billing.exact_json import dumps

EXACT = Context(prec=100, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])
"""Arithmetic that is exact or raises: sums and products of quantities and prices never round silently."""

ZERO = Decimal(0)

INTEGER_DIGITS = 12
DECIMAL_PLACES = 9
METADATA_BYTES = 2048
METADATA_KEYS = 50
METADATA_DEPTH = 3

# Not with a dot first: `.` and `..` are steps in a URL, which clients take before they send it.
IDENTIFIER_PATTERN = r"^[A-Za-z0-9_~:@|+=,-][A-Za-z0-9._~:@|+=,-]{0,127}$"
_IDENTIFIER_CHARACTERS = "letters, digits and . _ ~ : @ | + = , - (ASCII only), not starting with a dot"
IDENTIFIER_RULE = f"must be 1 to 128 characters: {_IDENTIFIER_CHARACTERS}"

INVOICE_ID_PATTERN = r"^[A-Za-z0-9_~:@|+=,-][A-Za-z0-9._~:@|+=,-]{0,159}$"
INVOICE_ID_RULE = f"must be 1 to 160 characters: {_IDENTIFIER_CHARACTERS}"

RUN_ID_PATTERN = r"^[A-Za-z0-9-]{1,64}$"
RUN_ID_RULE = "must be 1 to 64 letters, digits and hyphens (ASCII only)"

CODE_PATTERN = r"^[a-z_]{1,64}$"
CODE_RULE = "must be the code of an error, such as event_id_conflict"

INSTANT_RULE = "must be an ISO 8601 instant with a time zone, such as 2026-11-01T12:00:00Z"


class Strict(BaseModel):
    """A frozen value with camelCase JSON, in which an unknown field is an error.

    A validation error that ends in a log as text does not show what the caller sent.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True, hide_input_in_errors=True
    )


def plain(number: Decimal) -> Decimal:
    """The same number without trailing zeros and without a positive exponent: 1E+5 -> 100000, 5.00 -> 5."""
    stripped = number.normalize(EXACT)
    return stripped.quantize(Decimal(1), context=EXACT) if stripped.as_tuple().exponent > 0 else stripped  # type: ignore[operator]


def add(left: Decimal, right: Decimal) -> Decimal:
    return plain(EXACT.add(left, right))


def subtract(left: Decimal, right: Decimal) -> Decimal:
    return plain(EXACT.subtract(left, right))


def multiply(left: Decimal, right: Decimal) -> Decimal:
    return plain(EXACT.multiply(left, right))


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
    number = plain(number) if number else ZERO
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


def as_text(number: Decimal) -> str:
    """A number in plain notation, never with an exponent."""
    return format(number, "f")


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

Identifier = Annotated[str, Field(pattern=IDENTIFIER_PATTERN)]
"""Names a thing, fits into a URL path and a composite key: `#` and `/` separate, so they are not allowed."""


def _printable(text: str) -> str:
    if any(unicodedata.category(character).startswith("C") for character in text):
        raise ValueError("must consist of printable characters")
    return text


PrintableText = Annotated[
    str, Field(min_length=1, max_length=128, description="printable characters"), AfterValidator(_printable)
]

CUSTOMER_PREFIX = "customer:"
"""Begins the ids of events that customers report themselves: theirs and the services' can never be the same."""

RESERVED_PREFIXES = (CUSTOMER_PREFIX, "reversal:", "rating:", "closing:")
"""Begin the ids that are ours to give."""

EVENT_ID_CHARACTERS = r"^[\x21-\x7e]{1,128}$"
EVENT_ID_RULE = "must be 1 to 128 printable ASCII characters without spaces"

EVENT_ID_PATTERN = rf"^(?!{'|'.join(RESERVED_PREFIXES)})[\x21-\x7e]{{1,128}}$"


def _unreserved(event_id: str) -> str:
    for prefix in RESERVED_PREFIXES:
        if event_id.startswith(prefix):
            raise ValueError(f"must not begin with {prefix}, which is reserved")
    return event_id


EventId = Annotated[
    str,
    Field(pattern=EVENT_ID_CHARACTERS),
    AfterValidator(_unreserved),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": EVENT_ID_PATTERN,
            "description": "1 to 128 printable ASCII characters without spaces; some first words are reserved: "
            + ", ".join(RESERVED_PREFIXES),
        }
    ),
]
"""An id that a caller gives an event."""

RECORDED_EVENT_ID_PATTERN = r"^[\x21-\x7e]{1,160}$"
RECORDED_EVENT_ID_RULE = "must be 1 to 160 printable ASCII characters without spaces"

RecordedEventId = Annotated[
    str, Field(pattern=RECORDED_EVENT_ID_PATTERN, description="printable ASCII characters without spaces")
]
"""The id that an event is recorded under: a caller's, or one with a reserved prefix."""


def utc(moment: datetime) -> datetime:
    """The same instant in UTC."""
    return moment.astimezone(UTC)


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


def iso(moment: datetime) -> str:
    """ISO 8601 in UTC with a `Z`, the fraction of a second as short as it goes."""
    seconds, _, fraction = utc(moment).isoformat().removesuffix("+00:00").partition(".")
    fraction = fraction.rstrip("0")
    return f"{seconds}.{fraction}Z" if fraction else f"{seconds}Z"


def instant(text: str) -> datetime:
    """The inverse of `iso`."""
    return datetime.fromisoformat(text)


Instant = Annotated[
    AwareDatetime,
    BeforeValidator(_iso_text),
    AfterValidator(_instant),
    PlainSerializer(iso, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""An aware instant, in UTC."""


def _deeper_than(levels: int, value: object) -> bool:
    """Whether objects and lists are nested more than `levels` deep. Looks no deeper, so no depth can overflow it."""
    if not isinstance(value, dict | list):
        return False
    children = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper_than(levels - 1, child) for child in children)


def _count_keys(value: object) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(_count_keys, value.values()))
    return sum(map(_count_keys, value)) if isinstance(value, list) else 0


def _digits(value: object) -> int:
    """At least how many digits the numbers take when they are written out. Counts no further than `METADATA_BYTES`."""
    if isinstance(value, Decimal):
        return abs(value.adjusted())
    if not isinstance(value, dict | list):
        return 0
    digits = 0
    for child in value.values() if isinstance(value, dict) else value:
        digits += _digits(child)
        if digits > METADATA_BYTES:
            break
    return digits


def _metadata(value: dict[str, Any]) -> dict[str, Any]:
    if _deeper_than(METADATA_DEPTH, value):
        raise ValueError(f"must not be nested deeper than {METADATA_DEPTH} levels")
    if _count_keys(value) > METADATA_KEYS:
        raise ValueError(f"must have at most {METADATA_KEYS} keys")
    if _digits(value) > METADATA_BYTES:  # looked at before anything is written out: 1e4299 is five characters
        raise ValueError(f"must take at most {METADATA_BYTES} bytes as JSON")
    try:
        size = len(dumps(value).encode())
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode text") from None
    if size > METADATA_BYTES:
        raise ValueError(f"must take at most {METADATA_BYTES} bytes as JSON, takes {size}")
    return value


Metadata = Annotated[
    dict[str, Any],
    AfterValidator(_metadata),
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": True,
            "maxProperties": METADATA_KEYS,
            "description": f"at most {METADATA_BYTES} bytes as JSON, {METADATA_KEYS} keys, {METADATA_DEPTH} levels",
        }
    ),
]
"""Anything a service wants to remember about an event: at most 2 KB of JSON, 50 keys, 3 levels."""
