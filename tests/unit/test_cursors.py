"""Cursors: what a list gave out comes back, and nothing else does."""

import base64
import json
import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage_billing.kernel.cursors import decode, encode
from usage_billing.kernel.errors import ValidationFailed

POSITIONS = st.lists(st.text(st.characters(exclude_categories=["Cs"])) | st.integers(0, 10**15), min_size=1, max_size=4)


def b64(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).decode()


@given(POSITIONS)
def test_a_cursor_reads_back_its_position_and_fits_into_a_query(position: list[str | int]) -> None:
    cursor = encode(*position)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", cursor)
    assert decode(cursor, *map(type, position)) == position


@pytest.mark.parametrize(
    "cursor",
    [
        pytest.param("", id="empty"),
        pytest.param("!!!", id="no base64"),
        pytest.param("ä", id="no ASCII"),
        pytest.param("abc", id="base64 of nothing sensible"),
        pytest.param(b64(b"\xff\xfe"), id="no UTF-8"),
        pytest.param(b64(b"a"), id="no JSON"),
        pytest.param(b64(b"NaN"), id="NaN"),
        pytest.param(b64(b'"a"'), id="a text, not a list"),
        pytest.param(b64(b'{"a": 1}'), id="an object"),
        pytest.param(b64(b"[]"), id="an empty list"),
        pytest.param(b64(b'["a"]'), id="too short"),
        pytest.param(b64(b'["a", 1, 1]'), id="too long"),
        pytest.param(b64(b'[1, "a"]'), id="the wrong way round"),
        pytest.param(b64(b'["a", true]'), id="true is not 1"),
        pytest.param(b64(b'["a", 1.0]'), id="no whole number"),
        pytest.param(b64(b'["a", null]'), id="null"),
        pytest.param(b64(b'["a", -1]'), id="a negative position"),
        pytest.param(b64(json.dumps(["\ud800", 1]).encode()), id="half a character"),
        pytest.param(b64(b"[" * 700), id="deeply nested"),
        pytest.param(b64(b'["a", ' + b"1" * 5000 + b"]"), id="a number of 5000 digits"),
    ],
)
def test_what_no_list_gave_out_is_refused(cursor: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        decode(cursor, str, int)
    [fault] = refused.value.fields
    assert (fault.field, fault.code) == ("cursor", "invalid")


@given(st.text())
def test_any_text_is_a_cursor_or_refused(text: str) -> None:
    with suppress(ValidationFailed):
        assert encode(*decode(text, str)) == text
