"""Cursors: those that a list returned are accepted, all others are refused."""

import base64
import json
import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage_billing.kernel.cursors import decode, encode, start_after
from usage_billing.kernel.errors import FieldError, ValidationFailed

INVALID = FieldError("cursor", "invalid", "must be the nextCursor of the previous page")
POSITIONS = st.lists(st.text(st.characters(exclude_categories=["Cs"])) | st.integers(0, 10**15), min_size=1, max_size=4)


def b64(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).decode()


@given(POSITIONS)
def test_a_cursor_reads_back_its_position_and_needs_no_escaping_in_a_url(position: list[str | int]) -> None:
    cursor = encode(*position)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", cursor)
    assert decode(cursor, *map(type, position)) == position


@pytest.mark.parametrize(
    "cursor",
    [
        pytest.param("", id="empty"),
        pytest.param("!!!", id="not Base64"),
        pytest.param("ä", id="not ASCII"),
        pytest.param("abc", id="Base64 of random bytes"),
        pytest.param(b64(b"\xff\xfe"), id="not UTF-8"),
        pytest.param(b64(b"a"), id="not JSON"),
        pytest.param(b64(b"NaN"), id="NaN"),
        pytest.param(b64(b'"a"'), id="a string instead of a list"),
        pytest.param(b64(b'{"a": 1}'), id="an object instead of a list"),
        pytest.param(b64(b"[]"), id="an empty list"),
        pytest.param(b64(b'["a"]'), id="too short"),
        pytest.param(b64(b'["a", 1, 1]'), id="too long"),
        pytest.param(b64(b'[1, "a"]'), id="in the wrong order"),
        pytest.param(b64(b'["a", true]'), id="true instead of 1"),
        pytest.param(b64(b'["a", 1.0]'), id="not a whole number"),
        pytest.param(b64(b'["a", null]'), id="null"),
        pytest.param(b64(b'["a", -1]'), id="a negative position"),
        pytest.param(encode("a", -1), id="a negative position as encode writes it"),
        pytest.param(b64(b'["a", 1]').rstrip("="), id="a space that encode does not write"),
        pytest.param(encode("a", 1) + "=", id="padding that encode does not write"),
        pytest.param(b64(json.dumps(["\ud800", 1]).encode()), id="an unpaired surrogate"),
        pytest.param(b64(b"[" * 700), id="deeply nested"),
        pytest.param(b64(b'["a", ' + b"1" * 5000 + b"]"), id="a number of 5000 digits"),
    ],
)
def test_a_cursor_that_no_list_returned_is_refused(cursor: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        decode(cursor, str, int)
    [error] = refused.value.fields
    assert error == INVALID


@given(st.text())
def test_any_text_is_either_a_cursor_or_refused(text: str) -> None:
    with suppress(ValidationFailed):
        assert encode(*decode(text, str)) == text


def test_a_position_may_be_zero() -> None:
    assert decode(encode("a", 0), str, int) == ["a", 0]


@pytest.mark.parametrize("scope", [(), ("sub-1",), ("sub-1", "report")], ids=len)
def test_a_list_continues_after_the_position_of_its_cursor(scope: tuple[str, ...]) -> None:
    assert start_after(encode(*scope, "e1"), *scope) == "e1"
    assert start_after(None, *scope) is None
    assert start_after("", *scope) is None


@pytest.mark.parametrize(
    "cursor",
    [
        pytest.param(encode("sub-2", "e1"), id="of another subscription"),
        pytest.param(encode("e1"), id="of another list"),
        pytest.param(encode("sub-1", "x", "e1"), id="a longer scope"),
        pytest.param(encode("sub-1", 1), id="a number"),
    ],
)
def test_a_list_refuses_the_cursor_of_another_list(cursor: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        start_after(cursor, "sub-1")
    assert refused.value.fields == (INVALID,)
