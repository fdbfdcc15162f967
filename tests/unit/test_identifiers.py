"""The characters and lengths of identifiers and event ids."""

import pytest
from pydantic import TypeAdapter

from tests.unit.validation import refusal
from usage_billing.kernel.identifiers import EventId, Identifier

IDENTIFIER: TypeAdapter[str] = TypeAdapter(Identifier)
EVENT_ID: TypeAdapter[str] = TypeAdapter(EventId)


@pytest.mark.parametrize("text", ["a", "sub-456", "A.b_c~d:e@f|g+h=i,j", "x" * 128])
def test_a_valid_identifier_is_accepted(text: str) -> None:
    assert IDENTIFIER.validate_python(text) == text


@pytest.mark.parametrize(
    "value", ["", "a b", "a#b", "a/b", "a\n", "\n", "ä", "a%20b", "x" * 129, "a\x00", "\ud800", 5, None, True, ["a"]]
)
def test_an_invalid_identifier_is_refused(value: object) -> None:
    assert refusal(IDENTIFIER, value)


@pytest.mark.parametrize("text", ["!", "evt#1/2?", "~" * 128])
def test_a_valid_event_id_is_accepted(text: str) -> None:
    assert EVENT_ID.validate_python(text) == text


@pytest.mark.parametrize("value", ["", " ", "a b", "a\n", "ä", "\x7f", "~" * 129, 5])
def test_an_invalid_event_id_is_refused(value: object) -> None:
    assert refusal(EVENT_ID, value)


@pytest.mark.parametrize("prefix", ["customer:", "reversal:", "rating:", "closing:"])
def test_an_event_id_with_a_reserved_prefix_is_refused(prefix: str) -> None:
    assert refusal(EVENT_ID, prefix + "1") == f"must not start with the reserved prefix {prefix}"
    assert EVENT_ID.validate_python("x" + prefix) == "x" + prefix
