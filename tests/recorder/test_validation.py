"""Values of an event: they are valid here if and only if the service accepts them."""

import json
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.recorder.helpers import event
from usage_billing.kernel.identifiers import RESERVED_PREFIXES
from usage_billing.usage.api import ReportedUsage
from usage_recorder.validation import exact_quantity, valid_event_id, valid_identifier


class Odd(float):
    """A float whose repr is not a number, like numpy's."""

    def __repr__(self) -> str:
        return f"odd({float(self)})"


def accepted_by_the_service(field: str, value: Any) -> bool:
    report = {"eventId": "e1", "userId": "u", "subscriptionId": "s", "usageType": "t", "quantity": 1}
    try:
        ReportedUsage.model_validate(report | {field: value})
    except ValidationError:
        return False
    return True


def accepted_here(check: Callable[[], str]) -> bool:
    try:
        check()
    except ValueError:
        return False
    return True


EDGES = [
    "",
    "a",
    ".a",
    "a.",
    "a#b",
    "a/b",
    "a b",
    "a\n",
    "~!",
    "x" * 128,
    "x" * 129,
    "\u00e4",
    "\u0661",
    "a\x7f",
    "a\x00",
]
_ids = st.sampled_from(EDGES) | st.text(st.characters(max_codepoint=0xFF), max_size=6) | st.text(max_size=3)


@pytest.mark.parametrize(
    ("given_as", "is_exactly"),
    [
        pytest.param(1, "1", id="int"),
        pytest.param(0.1, "0.1", id="a float counts as it is written"),
        pytest.param(Odd(0.1), "0.1", id="a subclass of float"),
        pytest.param(1e11, "100000000000", id="large float"),
        pytest.param("2.50", "2.5", id="text"),
        pytest.param(Decimal("0.000000001"), "0.000000001", id="nine decimal places"),
        pytest.param(Decimal("1.1000000000000"), "1.1", id="trailing zeros do not count"),
        pytest.param(Decimal("999999999999.999999999"), "999999999999.999999999", id="the largest"),
        pytest.param(Decimal("1E+3"), "1000", id="exponent"),
    ],
)
def test_a_quantity_is_exact(given_as: Any, is_exactly: str) -> None:
    assert exact_quantity(given_as) == Decimal(is_exactly)
    text = event(quantity=exact_quantity(given_as)).to_json()
    assert json.loads(text, parse_float=Decimal)["quantity"] == Decimal(is_exactly)
    assert "E" not in text.partition('"quantity":')[2].partition(",")[0]


@pytest.mark.parametrize(
    "wrong",
    [
        0, -1, True, "", "one", "1/3", None, float("nan"), float("inf"), Decimal("sNaN"), Decimal("-0"),
        10**12, Decimal("0.0000000001"), 0.1 + 0.2, Decimal("1e999999999"), Decimal("1e-999999999"),
    ],
)  # fmt: skip
def test_an_invalid_quantity_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="quantity must"):
        exact_quantity(wrong)


@given(_ids)
def test_an_id_is_valid_here_if_and_only_if_the_service_accepts_it(text: str) -> None:
    for field, name in (("userId", "user_id"), ("subscriptionId", "subscription_id"), ("usageType", "usage_type")):
        assert accepted_here(partial(valid_identifier, text, name)) == accepted_by_the_service(field, text)
    assert accepted_here(partial(valid_event_id, text)) == accepted_by_the_service("eventId", text)


@pytest.mark.parametrize("prefix", RESERVED_PREFIXES)
def test_a_reserved_event_id_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="event_id must not begin with customer:"):
        valid_event_id(f"{prefix}1")
    assert valid_event_id(f"a{prefix}1")
    assert valid_event_id(prefix.removesuffix(":"))
