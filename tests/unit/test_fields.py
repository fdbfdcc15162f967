"""The field types of requests: quantities, limits, prices and printable text."""

from decimal import Decimal
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from tests.unit.validation import refusal
from usage_billing.kernel import fields
from usage_billing.kernel.fields import Instant, Limit, PrintableText, Quantity, UnitPrice
from usage_billing.kernel.numbers import as_text
from usage_billing.usage.metadata import Metadata

UNIT_PRICE: TypeAdapter[Decimal] = TypeAdapter(UnitPrice)
QUANTITY: TypeAdapter[Decimal] = TypeAdapter(Quantity)
LIMIT: TypeAdapter[Decimal] = TypeAdapter(Limit)
PRINTABLE_TEXT: TypeAdapter[str] = TypeAdapter(PrintableText)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(1, "1", id="a whole number"),
        pytest.param(Decimal("0.1"), "0.1", id="a fraction"),
        pytest.param(Decimal("0.000000001"), "0.000000001", id="nine decimal places"),
        pytest.param(Decimal("1.500000000000"), "1.5", id="trailing zeros do not count as decimal places"),
        pytest.param(Decimal("1." + "0" * 41), "1", id="the largest number of trailing zeros"),
        pytest.param(Decimal("1E+5"), "100000", id="with an exponent"),
        pytest.param(Decimal("1e-9"), "0.000000001", id="with a negative exponent"),
        pytest.param(Decimal("999999999999.999999999"), "999999999999.999999999", id="the maximum number of digits"),
        pytest.param(999_999_999_999, "999999999999", id="twelve digits"),
    ],
)
def test_a_quantity_is_accepted_exactly(value: object, text: str) -> None:
    assert as_text(QUANTITY.validate_python(value)) == text


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param(0, "must be greater than 0", id="zero"),
        pytest.param(Decimal("-0.0"), "must be greater than 0", id="negative zero"),
        pytest.param(Decimal("0E-999999999"), "must be greater than 0", id="zero with a huge negative exponent"),
        pytest.param(Decimal("0E+999999999"), "must be greater than 0", id="zero with a huge exponent"),
        pytest.param(-1, "must be greater than 0", id="negative"),
        pytest.param(Decimal("-0.5"), "must be greater than 0", id="a negative fraction"),
        pytest.param(1_000_000_000_000, "must have at most 12 digits before the decimal point", id="thirteen digits"),
        pytest.param(
            Decimal("1e12"),
            "must have at most 12 digits before the decimal point",
            id="thirteen digits through an exponent",
        ),
        pytest.param(
            Decimal("1e999999999"),
            "must have at most 12 digits before the decimal point",
            id="an exponent that would exhaust the memory",
        ),
        pytest.param(
            Decimal("-1e999999999"),
            "must have at most 12 digits before the decimal point",
            id="the same exponent, negative number",
        ),
        pytest.param(
            Decimal("1e-999999999"), "must have at most 9 digits after the decimal point", id="a huge negative exponent"
        ),
        pytest.param(
            Decimal("0.0000000001"), "must have at most 9 digits after the decimal point", id="ten decimal places"
        ),
        pytest.param(
            Decimal("1.0000000001"),
            "must have at most 9 digits after the decimal point",
            id="ten decimal places after a one",
        ),
        pytest.param(Decimal("0." + "1" * 5000), "has too many digits", id="5000 decimal places"),
        pytest.param(Decimal("1." + "0" * 42), "has too many digits", id="43 digits, all but one of them zeros"),
        pytest.param(10**4000, "must have at most 12 digits before the decimal point", id="4001 digits"),
        pytest.param(Decimal("NaN"), "must be a finite number", id="NaN"),
        pytest.param(Decimal("sNaN"), "must be a finite number", id="a signaling NaN"),
        pytest.param(Decimal("-Infinity"), "must be a finite number", id="infinity"),
        pytest.param(True, "must be a JSON number", id="a boolean"),
        pytest.param("1", "must be a JSON number", id="text"),
        pytest.param(1.5, "must be a JSON number", id="a float"),
        pytest.param(None, "must be a JSON number", id="null"),
        pytest.param([1], "must be a JSON number", id="a list"),
    ],
)
def test_an_invalid_quantity_is_refused_with_a_reason(value: object, reason: str) -> None:
    assert refusal(QUANTITY, value) == reason


def test_a_limit_may_be_zero_but_not_negative() -> None:
    assert [as_text(LIMIT.validate_python(zero)) for zero in (0, Decimal("-0"), Decimal("0.00"))] == ["0", "0", "0"]
    assert refusal(LIMIT, Decimal("-0.000000001")) == "must not be negative"


@pytest.mark.parametrize("value", ["10.00", "10", "010.0", 10, Decimal("10.0"), Decimal("1e1")])
def test_a_unit_price_is_accepted_as_text_or_as_a_number(value: object) -> None:
    assert UNIT_PRICE.validate_python(value) == 10


@pytest.mark.parametrize(
    "value",
    ["", " ", "ten", "NaN", "Infinity", "-1", "+1", "1,5", "1_0", "0x1", "1e1", " 1", "1\n", "1.", ".5", "1" * 13,
     "0.0000000001", "\u0661", True, None, -1],
)  # fmt: skip
def test_an_invalid_unit_price_is_refused(value: object) -> None:
    assert refusal(UNIT_PRICE, value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param("ten", 'must be a decimal number such as "10.00"', id="a word"),
        pytest.param("1" * 33, 'must be a decimal number such as "10.00"', id="33 digits"),
        pytest.param("1." + "1" * 33, 'must be a decimal number such as "10.00"', id="33 decimal places"),
        pytest.param("1" * 13, "must have at most 12 digits before the decimal point", id="13 digits"),
        pytest.param("0.0000000001", "must have at most 9 digits after the decimal point", id="ten decimal places"),
        pytest.param("-1", "must not be negative", id="negative"),
        pytest.param(None, "must be a JSON number", id="null"),
    ],
)
def test_a_refused_unit_price_has_a_reason(value: object, reason: str) -> None:
    assert refusal(UNIT_PRICE, value) == reason


def test_a_unit_price_may_have_leading_and_trailing_zeros() -> None:
    assert UNIT_PRICE.validate_python("0" * 31 + "1." + "0" * 9) == 1


def test_a_unit_price_is_serialized_as_text() -> None:
    assert UNIT_PRICE.json_schema(mode="serialization") == AMOUNT
    assert UNIT_PRICE.dump_json(Decimal("10.00")) == b'"10.00"'


@pytest.mark.parametrize("value", ["", "x" * 129, "a\tb", "a\u200bb", "\ud800", "\u202e"])
def test_text_that_is_empty_too_long_or_not_printable_is_refused(value: str) -> None:
    assert refusal(PRINTABLE_TEXT, value)


def test_printable_text_has_at_most_128_characters() -> None:
    assert PRINTABLE_TEXT.validate_python("ä" * 128) == "ä" * 128


def test_refused_text_has_a_reason() -> None:
    assert refusal(PRINTABLE_TEXT, "a\tb") == "must contain only printable characters"


def test_printable_text_may_be_in_any_language() -> None:
    assert PRINTABLE_TEXT.validate_python("prüfung 検査") == "prüfung 検査"


def test_a_strict_value_is_frozen_and_refuses_unknown_fields() -> None:
    class Point(fields.Strict):
        the_x: int

    assert Point.model_validate({"theX": 1}) == Point(the_x=1)
    with pytest.raises(ValidationError, match="frozen"):
        Point(the_x=1).the_x = 2  # type: ignore[misc]
    with pytest.raises(ValidationError, match="extra"):
        Point.model_validate({"theX": 1, "theY": 2})


def test_a_validation_error_of_a_strict_value_does_not_reveal_the_input() -> None:
    class Point(fields.Strict):
        the_x: int

    with pytest.raises(ValidationError) as refused:
        Point.model_validate({"theX": "a secret"})
    assert "a secret" not in str(refused.value)


AMOUNT = {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$", "examples": ["10.00"]}


PLACES = "at most 9 digits after the decimal point"


@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        pytest.param(
            Quantity,
            {
                "type": "number",
                "exclusiveMinimum": 0,
                "exclusiveMaximum": 10**12,
                "description": PLACES,
                "examples": [1],
            },
            id="a quantity",
        ),
        pytest.param(
            Limit,
            {"type": "number", "minimum": 0, "exclusiveMaximum": 10**12, "description": PLACES, "examples": [50]},
            id="a limit",
        ),
        pytest.param(
            UnitPrice,
            {
                "anyOf": [
                    {"type": "string", "pattern": r"^[0-9]{1,12}(\.[0-9]{1,9})?$"},
                    {"type": "number", "minimum": 0, "exclusiveMaximum": 10**12},
                ],
                "examples": ["10.00"],
            },
            id="a unit price",
        ),
        pytest.param(fields.Amount, AMOUNT, id="an amount"),
        pytest.param(fields.Total, {"type": "number"}, id="a total"),
        pytest.param(Instant, {"type": "string", "format": "date-time"}, id="an instant"),
        pytest.param(
            PrintableText,
            {"type": "string", "minLength": 1, "maxLength": 128, "description": "printable characters"},
            id="printable text",
        ),
        pytest.param(
            Metadata,
            {
                "type": "object",
                "additionalProperties": True,
                "maxProperties": 50,
                "description": "at most 2048 bytes as JSON, 50 keys, 3 levels",
            },
            id="metadata",
        ),
    ],
)
def test_the_schema_of_a_type_describes_its_limits(kind: Any, schema: dict[str, Any]) -> None:
    assert TypeAdapter(kind).json_schema() == schema
