"""JSON without floats, in both directions."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage_billing.kernel.exact_json import MAX_DIGITS, dumps, loads

SCALARS = (
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.text() | st.decimals(-(10**15), 10**15, places=9)
)
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20
)


@given(DOCUMENTS)
def test_a_document_reads_back_from_its_text(document: Any) -> None:
    assert loads(dumps(document)) == document


@given(DOCUMENTS)
def test_bytes_are_read_like_text(document: Any) -> None:
    assert loads(dumps(document).encode()) == document


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("0.1", Decimal("0.1"), id="a tenth"),
        pytest.param("1.10", Decimal("1.10"), id="a trailing zero"),
        pytest.param("1e5", Decimal("1e5"), id="an exponent"),
        pytest.param("123456789012345678901234567890.123456789", Decimal("123456789012345678901234567890.123456789"),
                     id="more digits than a float has"),
        pytest.param("12345678901234567890123456789", 12345678901234567890123456789, id="a large whole number"),
    ],
)  # fmt: skip
def test_numbers_are_read_exactly(text: str, expected: object) -> None:
    number = loads(text)
    assert number == expected
    assert not isinstance(number, float)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (Decimal("1E+5"), "100000"),
        (Decimal("1E-9"), "0.000000001"),
        (Decimal("20.00"), "20.00"),
        (Decimal("0.30"), "0.30"),
        (10**25, "1" + "0" * 25),
    ],
)
def test_numbers_are_written_in_plain_notation(number: object, text: str) -> None:
    assert dumps({"n": number}) == f'{{"n":{text}}}'


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("{", id="truncated"),
        pytest.param("{'a': 1}", id="single quotes"),
        pytest.param('{"a": 1,}', id="a trailing comma"),
        pytest.param('{"a": 1} {}', id="two documents"),
        pytest.param("NaN", id="NaN"),
        pytest.param('{"a": -Infinity}', id="infinity"),
        pytest.param('{"a": 1, "a": 1}', id="a key twice"),
        pytest.param('{"b": [{"a": 1, "\\u0061": 2}]}', id="a key twice, once escaped, in a nested object"),
        pytest.param("1" * 5000, id="a whole number of 5000 digits"),
        pytest.param("1e99999999999999999999", id="an exponent beyond the range of Decimal"),
        pytest.param("1e999999999", id="an exponent that would exhaust the memory in plain notation"),
        pytest.param("1e-999999999", id="a huge negative exponent"),
        pytest.param("0e999999999", id="zero with a huge exponent"),
        pytest.param("\ufeff{}", id="a byte order mark"),
        pytest.param(b"\xff\xfe\xfa", id="not UTF-8"),
    ],
)
def test_invalid_json_and_unsupported_numbers_raise_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        loads(text)


def test_very_deep_nesting_raises_an_error_and_does_not_crash() -> None:
    with pytest.raises(RecursionError):
        loads("[" * 100_000)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Decimal, {1, 2}, 1j])
def test_a_value_without_a_json_form_is_refused(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        dumps({"a": value})


def test_text_is_written_unescaped_and_without_spaces() -> None:
    assert dumps({"ä": ["検", True, None]}) == '{"ä":["検",true,null]}'


def test_keys_can_be_sorted_on_every_level() -> None:
    assert dumps({"b": {"d": 1, "c": 2}, "a": 3}, sort_keys=True) == '{"a":3,"b":{"c":2,"d":1}}'
    assert dumps({"b": 1, "a": 2}) == '{"b":1,"a":2}'


def test_characters_beyond_ascii_can_be_escaped() -> None:
    assert dumps({"ä": 1}, ascii_only=True) == '{"\\u00e4":1}'


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("9" * MAX_DIGITS, id="a whole number"),
        pytest.param("-" + "9" * MAX_DIGITS, id="a negative whole number"),
        pytest.param(f"1e{MAX_DIGITS}", id="an exponent"),
        pytest.param(f"1e-{MAX_DIGITS}", id="a negative exponent"),
    ],
)
def test_numbers_with_the_maximum_number_of_digits_are_read(text: str) -> None:
    assert loads(text) == Decimal(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("9" * (MAX_DIGITS + 1), "a number has more than 4300 digits", id="one digit too many"),
        pytest.param(
            "-" + "9" * (MAX_DIGITS + 1), "a number has more than 4300 digits", id="one digit too many, negative"
        ),
        pytest.param(f"1e{MAX_DIGITS + 1}", "a number has more than 4300 digits", id="exponent too large"),
        pytest.param(f"1e-{MAX_DIGITS + 1}", "a number has more than 4300 digits", id="negative exponent too large"),
        pytest.param(
            "1e99999999999999999999", "a number has more than 4300 digits", id="an exponent beyond the range of Decimal"
        ),
        pytest.param("NaN", "NaN is not a JSON number", id="NaN"),
        pytest.param('{"a": -Infinity}', "-Infinity is not a JSON number", id="infinity"),
        pytest.param('{"a": 1, "a": 1}', "the key 'a' occurs twice in one object", id="a key twice"),
        pytest.param(
            '{{"{0}": 1, "{0}": 1}}'.format("k" * 65),
            f"the key {'k' * 64!r} occurs twice in one object",
            id="a long key twice is shown truncated",
        ),
    ],
)
def test_refused_json_has_a_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - compared in full below
        loads(text)
    assert str(refused.value) == reason


def test_the_error_names_a_type_without_a_json_form() -> None:
    with pytest.raises(TypeError) as refused:
        dumps({"a": {1, 2}})
    assert str(refused.value) == "set has no JSON form"
