"""The small types: exact numbers, instants, identifiers, metadata."""

import tracemalloc
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, Inexact, InvalidOperation
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from usage_billing.kernel import fields
from usage_billing.kernel import numbers as kernel_numbers
from usage_billing.kernel.fields import INSTANT_RULE, Instant, Limit, PrintableText, Quantity, UnitPrice
from usage_billing.kernel.identifiers import EventId, Identifier
from usage_billing.kernel.instants import instant, iso
from usage_billing.kernel.numbers import add, as_text, multiply, plain, subtract
from usage_billing.usage.metadata import Metadata

QUANTITY: TypeAdapter[Decimal] = TypeAdapter(Quantity)
EXACT_NUMBERS = st.decimals("-999999999999", "999999999999", places=9)


def message(adapter: TypeAdapter[Any], value: object) -> str:
    """Why a type refuses a value: one reason."""
    with pytest.raises(ValidationError) as refused:
        adapter.validate_python(value)
    [fault] = refused.value.errors()
    return str(fault["msg"]).removeprefix("Value error, ")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(1, "1", id="a whole number"),
        pytest.param(Decimal("0.1"), "0.1", id="a fraction"),
        pytest.param(Decimal("0.000000001"), "0.000000001", id="nine decimal places"),
        pytest.param(Decimal("1.500000000000"), "1.5", id="zeros behind it do not count as places"),
        pytest.param(Decimal("1." + "0" * 41), "1", id="as many zeros as are read"),
        pytest.param(Decimal("1E+5"), "100000", id="with an exponent"),
        pytest.param(Decimal("1e-9"), "0.000000001", id="with a negative exponent"),
        pytest.param(Decimal("999999999999.999999999"), "999999999999.999999999", id="all digits there may be"),
        pytest.param(999_999_999_999, "999999999999", id="twelve digits"),
    ],
)
def test_a_quantity_is_taken_exactly(value: object, text: str) -> None:
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
        pytest.param(1_000_000_000_000, "must have at most 12 digits before the point", id="thirteen digits"),
        pytest.param(
            Decimal("1e12"), "must have at most 12 digits before the point", id="thirteen digits by an exponent"
        ),
        pytest.param(
            Decimal("1e999999999"),
            "must have at most 12 digits before the point",
            id="an exponent that would fill the memory",
        ),
        pytest.param(Decimal("-1e999999999"), "must have at most 12 digits before the point", id="the same, negative"),
        pytest.param(Decimal("1e-999999999"), "must have at most 9 digits after the point", id="a negative one"),
        pytest.param(Decimal("0.0000000001"), "must have at most 9 digits after the point", id="ten decimal places"),
        pytest.param(
            Decimal("1.0000000001"), "must have at most 9 digits after the point", id="ten decimal places behind a one"
        ),
        pytest.param(Decimal("0." + "1" * 5000), "has too many digits", id="5000 decimal places"),
        pytest.param(Decimal("1." + "0" * 42), "has too many digits", id="43 digits, all of them zeros but one"),
        pytest.param(10**4000, "must have at most 12 digits before the point", id="4001 digits"),
        pytest.param(Decimal("NaN"), "must be a finite number", id="NaN"),
        pytest.param(Decimal("sNaN"), "must be a finite number", id="a signaling NaN"),
        pytest.param(Decimal("-Infinity"), "must be a finite number", id="infinity"),
        pytest.param(True, "must be a JSON number", id="true is not 1"),
        pytest.param("1", "must be a JSON number", id="text"),
        pytest.param(1.5, "must be a JSON number", id="a float never comes in"),
        pytest.param(None, "must be a JSON number", id="null"),
        pytest.param([1], "must be a JSON number", id="a list"),
    ],
)
def test_a_quantity_refuses(value: object, reason: str) -> None:
    assert message(QUANTITY, value) == reason


def test_a_limit_may_be_zero_but_not_negative() -> None:
    adapter: TypeAdapter[Decimal] = TypeAdapter(Limit)
    assert [as_text(adapter.validate_python(zero)) for zero in (0, Decimal("-0"), Decimal("0.00"))] == ["0", "0", "0"]
    assert message(adapter, Decimal("-0.000000001")) == "must not be negative"


@pytest.mark.parametrize("value", ["10.00", "10", "010.0", 10, Decimal("10.0"), Decimal("1e1")])
def test_a_unit_price_comes_as_text_or_number(value: object) -> None:
    assert TypeAdapter(UnitPrice).validate_python(value) == 10


@pytest.mark.parametrize(
    "value",
    ["", " ", "ten", "NaN", "Infinity", "-1", "+1", "1,5", "1_0", "0x1", "1e1", " 1", "1\n", "1.", ".5", "1" * 13,
     "0.0000000001", "\u0661", True, None, -1],
)  # fmt: skip
def test_a_unit_price_refuses(value: object) -> None:
    assert message(TypeAdapter(UnitPrice), value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param("ten", 'must be a decimal number such as "10.00"', id="a word"),
        pytest.param("1" * 33, 'must be a decimal number such as "10.00"', id="33 digits"),
        pytest.param("1." + "1" * 33, 'must be a decimal number such as "10.00"', id="33 decimal places"),
        pytest.param("1" * 13, "must have at most 12 digits before the point", id="13 digits"),
        pytest.param("0.0000000001", "must have at most 9 digits after the point", id="ten decimal places"),
        pytest.param("-1", "must not be negative", id="negative"),
        pytest.param(None, "must be a JSON number", id="null"),
    ],
)
def test_a_unit_price_says_why_it_refuses(value: object, reason: str) -> None:
    assert message(TypeAdapter(UnitPrice), value) == reason


def test_a_unit_price_may_have_zeros_around_it() -> None:
    assert TypeAdapter(UnitPrice).validate_python("0" * 31 + "1." + "0" * 9) == 1


@given(EXACT_NUMBERS, EXACT_NUMBERS)
def test_sums_and_products_are_exact(left: Decimal, right: Decimal) -> None:
    billionths = int(left.scaleb(9)), int(right.scaleb(9))
    assert add(left, right) == kernel_numbers.EXACT.divide(Decimal(sum(billionths)), Decimal(10**9))
    assert add(subtract(left, right), right) == left
    assert multiply(left, right) == kernel_numbers.EXACT.divide(Decimal(billionths[0] * billionths[1]), Decimal(10**18))


def test_what_cannot_be_exact_raises_instead_of_rounding() -> None:
    with pytest.raises(Inexact):
        add(Decimal("1e60"), Decimal("1e-60"))
    with pytest.raises(InvalidOperation):
        kernel_numbers.EXACT.divide(Decimal(0), Decimal(0))


@given(EXACT_NUMBERS | st.integers(-(10**12), 10**12).map(Decimal) | st.sampled_from([Decimal("1E+5"), Decimal("-0")]))
def test_plain_is_the_same_number_as_short_as_it_goes(number: Decimal) -> None:
    text = as_text(plain(number))
    assert Decimal(text) == plain(number) == number
    assert "E" not in text
    assert not ("." in text and text.endswith("0"))
    assert plain(number).as_tuple().exponent <= 0


def test_exact_arithmetic_takes_a_hundred_digits() -> None:
    assert as_text(add(Decimal("9" * 99), Decimal(1))) == "1" + "0" * 99
    with pytest.raises(Inexact):
        add(Decimal("9" * 100), Decimal(2))


def test_plain_takes_as_many_digits_as_exact_arithmetic() -> None:
    assert as_text(plain(Decimal("1E+99"))) == "1" + "0" * 99


@given(st.datetimes(timezones=st.just(UTC)))
def test_an_instant_reads_back_what_it_wrote(moment: datetime) -> None:
    text = iso(moment)
    assert instant(text) == moment
    assert text.endswith("Z")
    assert not text.endswith(("0Z", ".Z")) or "." not in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("2026-11-01T12:00:00Z", "2026-11-01T12:00:00Z", id="UTC"),
        pytest.param("2026-11-01T12:00:00+00:00", "2026-11-01T12:00:00Z", id="UTC as an offset"),
        pytest.param("2026-11-01T01:30:00+05:30", "2026-10-31T20:00:00Z", id="another day in UTC"),
        pytest.param("2026-11-01T12:00:00.120Z", "2026-11-01T12:00:00.12Z", id="a fraction"),
        pytest.param("2026-11-01T12:00:00.000001Z", "2026-11-01T12:00:00.000001Z", id="a microsecond"),
        pytest.param("2026-11-01T12:00Z", "2026-11-01T12:00:00Z", id="without seconds"),
    ],
)
def test_an_instant_becomes_utc(text: str, expected: str) -> None:
    assert iso(TypeAdapter(Instant).validate_python(text)) == expected


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("2026-11-01T12:00:00", id="no time zone"),
        pytest.param("2026-11-01", id="a day"),
        pytest.param("yesterday, at a quarter to nine", id="words"),
        pytest.param("1793534400", id="seconds as text"),
        pytest.param("17935344000000000000", id="many seconds as text"),
        pytest.param(1793534400, id="seconds"),
        pytest.param(Decimal("1793534400.5"), id="seconds and a half"),
        pytest.param("2026-02-30T12:00:00Z", id="30 Feb"),
        pytest.param("2026-11-01T24:30:00Z", id="hour 24"),
        pytest.param("0001-01-01T00:00:00+05:00", id="before the first year in UTC"),
        pytest.param("9999-12-31T23:59:59-05:00", id="behind the last year in UTC"),
        pytest.param("10000-01-01T00:00:00Z", id="a year of five digits"),
        pytest.param(True, id="true"),
        pytest.param("", id="nothing"),
    ],
)
def test_an_instant_refuses(value: object) -> None:
    assert message(TypeAdapter(Instant), value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param(1793534400, INSTANT_RULE, id="seconds"),
        pytest.param("2026-11-01", INSTANT_RULE, id="a day"),
        pytest.param("0001-01-01T00:00:00+05:00", "must be a year from 1 to 9999 in UTC", id="before the first year"),
    ],
)
def test_an_instant_says_why_it_refuses(value: object, reason: str) -> None:
    assert message(TypeAdapter(Instant), value) == reason


def test_an_instant_may_come_as_one() -> None:
    moment = TypeAdapter(Instant).validate_python(datetime(2026, 11, 1, 13, tzinfo=timezone(timedelta(hours=1))))
    assert moment == datetime(2026, 11, 1, 12, tzinfo=UTC)
    assert moment.tzinfo is UTC


@pytest.mark.parametrize("text", ["a", "sub-456", "A.b_c~d:e@f|g+h=i,j", "x" * 128])
def test_an_identifier_is(text: str) -> None:
    assert TypeAdapter(Identifier).validate_python(text) == text


@pytest.mark.parametrize(
    "value", ["", "a b", "a#b", "a/b", "a\n", "\n", "ä", "a%20b", "x" * 129, "a\x00", "\ud800", 5, None, True, ["a"]]
)
def test_an_identifier_is_not(value: object) -> None:
    assert message(TypeAdapter(Identifier), value)


@pytest.mark.parametrize("text", ["!", "evt#1/2?", "~" * 128])
def test_an_event_id_is(text: str) -> None:
    assert TypeAdapter(EventId).validate_python(text) == text


@pytest.mark.parametrize("value", ["", " ", "a b", "a\n", "ä", "\x7f", "~" * 129, 5])
def test_an_event_id_is_not(value: object) -> None:
    assert message(TypeAdapter(EventId), value)


@pytest.mark.parametrize("prefix", ["customer:", "reversal:", "rating:", "closing:"])
def test_an_event_id_begins_with_no_prefix_of_ours(prefix: str) -> None:
    assert message(TypeAdapter(EventId), prefix + "1") == f"must not begin with {prefix}, which is reserved"
    assert TypeAdapter(EventId).validate_python("x" + prefix) == "x" + prefix


@pytest.mark.parametrize("value", ["", "x" * 129, "a\tb", "a\u200bb", "\ud800", "\u202e"])
def test_printable_text_refuses(value: str) -> None:
    assert message(TypeAdapter(PrintableText), value)


def test_printable_text_has_at_most_128_characters() -> None:
    assert TypeAdapter(PrintableText).validate_python("ä" * 128) == "ä" * 128


def test_printable_text_says_why_it_refuses() -> None:
    assert message(TypeAdapter(PrintableText), "a\tb") == "must consist of printable characters"


def test_printable_text_may_be_of_any_language() -> None:
    assert TypeAdapter(PrintableText).validate_python("prüfung 検査") == "prüfung 検査"


def nested(levels: int) -> dict[str, Any]:
    return {"a": nested(levels - 1)} if levels > 1 else {"a": 1}


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({}, id="empty"),
        pytest.param({"a": [1, None, True, Decimal("0.1"), "ä"]}, id="any kind of value"),
        pytest.param(nested(3), id="three levels"),
        pytest.param({"a": [[1]]}, id="lists are levels too"),
        pytest.param({f"k{n}": n for n in range(50)}, id="fifty keys"),
        pytest.param({"a": "x" * (2048 - len('{"a":""}'))}, id="exactly 2 KB"),
    ],
)
def test_metadata_may_be(value: dict[str, Any]) -> None:
    assert TypeAdapter(Metadata).validate_python(value) == value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param(nested(4), "must not be nested deeper than 3 levels", id="four levels"),
        pytest.param({"a": [[[]]]}, "must not be nested deeper than 3 levels", id="an empty list on the fourth level"),
        pytest.param({f"k{n}": n for n in range(51)}, "must have at most 50 keys", id="fifty-one keys"),
        pytest.param(
            {"a": [{f"k{n}": n} for n in range(50)]}, "must have at most 50 keys", id="keys inside a list count"
        ),
        pytest.param(
            {"a": "x" * (2049 - len('{"a":""}'))},
            "must take at most 2048 bytes as JSON, takes 2049",
            id="one byte beyond 2 KB",
        ),
        pytest.param(
            {"a": "ä" * 1021},
            "must take at most 2048 bytes as JSON, takes 2050",
            id="bytes are counted, not characters",
        ),
        pytest.param({"a": "\ud800"}, "must be valid Unicode text", id="half a character"),
        pytest.param({"\ud800": 1}, "must be valid Unicode text", id="half a character in a key"),
        pytest.param([], "Input should be a valid dictionary", id="a list"),
        pytest.param("a", "Input should be a valid dictionary", id="text"),
        pytest.param(None, "Input should be a valid dictionary", id="null"),
    ],
)
def test_metadata_refuses(value: object, reason: str) -> None:
    assert message(TypeAdapter(Metadata), value) == reason


def test_metadata_of_any_depth_is_refused_and_never_overflows_the_stack() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert "nested deeper" in message(TypeAdapter(Metadata), {"a": deep})
    while deep:  # taken apart level by level: freeing it at once would recurse
        deep = deep[0]


@pytest.mark.parametrize("number", ["1e4299", "-1e-4299", "0e4299"])
@pytest.mark.parametrize("shape", ["list", "lists", "objects"])
def test_metadata_of_short_numbers_that_are_long_when_written_out_is_refused_before_that(
    number: str, shape: str
) -> None:
    numbers: list[Any] = [Decimal(number)] * 150_000
    value = {"list": numbers, "lists": [numbers[:10]] * 15_000, "objects": [{"a": n} for n in numbers[:40]]}[shape]
    adapter: TypeAdapter[Any] = TypeAdapter(Metadata)
    tracemalloc.start()
    try:
        told = message(adapter, {"a": value})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "2048 bytes" in told
    assert peak < 1_000_000


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        pytest.param([Decimal("1e2048")], ", takes 2057", id="one that alone is just within the limit"),
        pytest.param([Decimal("1e2049")], "", id="one that is not"),
        pytest.param([Decimal("1e1024"), Decimal("1e1024")], ", takes 2059", id="two that are together"),
        pytest.param([Decimal("1e1024"), Decimal("1e1025")], "", id="two that are not"),
        pytest.param([Decimal("1e2048"), Decimal("1e1")], "", id="the last one is too much"),
        pytest.param([[Decimal("1e1024")], {"b": Decimal("1e1025")}], "", id="on another level"),
        pytest.param([1] * 3000, ", takes 6007", id="whole numbers, which are as long as they are written"),
        pytest.param([[1]] * 3000, ", takes 12007", id="the same, on another level"),
    ],
)
def test_metadata_is_written_out_and_measured_unless_its_numbers_are_too_long_for_that(
    numbers: list[Any], told: str
) -> None:
    assert message(TypeAdapter(Metadata), {"a": numbers}) == f"must take at most 2048 bytes as JSON{told}"


def test_metadata_may_hold_a_long_number() -> None:
    value = {"a": Decimal("1e2000")}
    assert TypeAdapter(Metadata).validate_python(value) == value


def test_a_strict_value_is_frozen_and_knows_its_fields() -> None:
    class Point(fields.Strict):
        the_x: int

    assert Point.model_validate({"theX": 1}) == Point(the_x=1)
    with pytest.raises(ValidationError, match="frozen"):
        Point(the_x=1).the_x = 2  # type: ignore[misc]
    with pytest.raises(ValidationError, match="extra"):
        Point.model_validate({"theX": 1, "theY": 2})


def test_instants_of_different_zones_are_compared_as_instants() -> None:
    adapter: TypeAdapter[datetime] = TypeAdapter(Instant)
    paris, utc = map(adapter.validate_python, ("2026-11-01T13:00:00+01:00", "2026-11-01T12:00:00Z"))
    assert paris == utc
    assert paris.utcoffset() == timedelta(0)


def test_an_error_of_a_strict_value_does_not_show_what_was_sent() -> None:
    class Point(fields.Strict):
        the_x: int

    with pytest.raises(ValidationError) as refused:
        Point.model_validate({"theX": "a secret"})
    assert "a secret" not in str(refused.value)


AMOUNT = {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$", "examples": ["10.00"]}
PLACES = "at most 9 digits after the point"


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
def test_the_schema_of_a_type_says_what_it_takes(kind: Any, schema: dict[str, Any]) -> None:
    assert TypeAdapter(kind).json_schema() == schema


def test_a_unit_price_is_written_as_text() -> None:
    adapter: TypeAdapter[Decimal] = TypeAdapter(UnitPrice)
    assert adapter.json_schema(mode="serialization") == AMOUNT
    assert adapter.dump_json(Decimal("10.00")) == b'"10.00"'
