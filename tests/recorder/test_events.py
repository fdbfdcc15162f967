"""A usage event and its JSON: exact, whatever kind of number comes in."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from usage_billing.kernel.identifiers import RESERVED_PREFIXES
from usage_billing.usage.api import ReportedUsage
from usage_recorder.events import MAX_EVENT_BYTES, UsageEvent
from usage_recorder.validation import aware_time, exact_quantity, valid_event_id, valid_identifier

NOW = datetime(2026, 11, 20, 12, 0, 0, 250_000, tzinfo=UTC)


def event(**fields: Any) -> UsageEvent:
    usual = {
        "event_id": "e1",
        "user_id": "user-1",
        "subscription_id": "sub-1",
        "usage_type": "report",
        "quantity": Decimal(1),
        "occurred_at": NOW,
        "metadata": {},
    }
    return UsageEvent(**(usual | fields))


class Odd(float):
    """A float whose repr is not a number, as numpy's."""

    def __repr__(self) -> str:
        return f"odd({float(self)})"


@pytest.mark.parametrize(
    ("given_as", "is_exactly"),
    [
        pytest.param(1, "1", id="int"),
        pytest.param(0.1, "0.1", id="a float is what it is written as"),
        pytest.param(Odd(0.1), "0.1", id="a subclass of float"),
        pytest.param(1e11, "100000000000", id="large float"),
        pytest.param("2.50", "2.5", id="text"),
        pytest.param(Decimal("0.000000001"), "0.000000001", id="nine places"),
        pytest.param(Decimal("1.1000000000000"), "1.1", id="zeros are not places"),
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
def test_what_is_no_quantity_is_refused_at_once(wrong: Any) -> None:
    with pytest.raises(ValueError, match="quantity must"):
        exact_quantity(wrong)


@given(st.decimals(min_value="0.000000001", max_value="999999999999", places=9))
def test_the_service_reads_the_quantity_that_was_meant(quantity: Decimal) -> None:
    text = event(quantity=exact_quantity(quantity)).to_json()
    assert ReportedUsage.model_validate(json.loads(text, parse_float=Decimal)).quantity == quantity


_scalars = st.none() | st.booleans() | st.integers() | st.text() | st.decimals(-100, 100, places=3)
_values = st.recursive(_scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)


@given(st.dictionaries(st.text(), _values, max_size=4))
def test_an_event_survives_its_json(metadata: dict[str, Any]) -> None:
    original = event(metadata=metadata)
    text = original.to_json()
    assert text.isascii()
    assert UsageEvent.from_json(text) == original


@pytest.mark.parametrize("times", [{}, {"occurred_at": None, "reported_at": NOW}], ids=["occurred", "reported"])
def test_an_event_keeps_the_time_it_has(times: dict[str, Any]) -> None:
    original = event(**times)
    text = original.to_json()
    assert UsageEvent.from_json(text) == original
    assert original.when == NOW
    assert ('"reportedAt"' in text, '"occurredAt"' in text) == (bool(times), not times)
    assert ReportedUsage.model_validate(json.loads(text, parse_float=Decimal)).event().when(NOW) == NOW


def test_an_event_that_an_earlier_or_a_later_version_spooled_is_read() -> None:
    earlier = """{"eventId":"e1","userId":"user-1","subscriptionId":"sub-1","usageType":"report","quantity":1,
        "occurredAt":"2026-11-20T12:00:00.250000Z","metadata":{}}"""
    assert UsageEvent.from_json(earlier) == event()
    assert UsageEvent.from_json(earlier.replace('"metadata"', '"unheardOf":{"a":[1]},"metadata"')) == event()


def taken_by_the_service(field: str, value: Any) -> bool:
    report = {"eventId": "e1", "userId": "u", "subscriptionId": "s", "usageType": "t", "quantity": 1}
    try:
        ReportedUsage.model_validate(report | {field: value})
    except ValidationError:
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


@given(_ids)
def test_an_id_is_taken_here_if_and_only_if_the_service_takes_it(text: str) -> None:
    for field, name in (("userId", "user_id"), ("subscriptionId", "subscription_id"), ("usageType", "usage_type")):
        assert is_taken(lambda name=name: valid_identifier(text, name)) == taken_by_the_service(field, text)
    assert is_taken(lambda: valid_event_id(text)) == taken_by_the_service("eventId", text)


def is_taken(check: Callable[[], str]) -> bool:
    try:
        check()
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("prefix", RESERVED_PREFIXES)
def test_an_event_id_that_is_reserved_is_refused_at_once(prefix: str) -> None:
    with pytest.raises(ValueError, match="event_id must not begin with customer:"):
        valid_event_id(f"{prefix}1")
    assert valid_event_id(f"a{prefix}1")
    assert valid_event_id(prefix.removesuffix(":"))


def test_a_time_is_written_in_utc() -> None:
    there = NOW.astimezone(timezone(timedelta(hours=5)))
    assert '"occurredAt":"2026-11-20T12:00:00.250000Z"' in event(occurred_at=there).to_json()
    with pytest.raises(ValueError, match="time zone"):
        aware_time(datetime(2026, 11, 20))  # noqa: DTZ001


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "metadata",
    [
        {"a": object()},
        {1: "a"},
        {"a": float("nan")},
        {"a": Decimal("Infinity")},
        {"a": Decimal("1e999999999")},
        {"a": {1, 2}},
        {"a": nested(100_000)},
        {"a": "x" * MAX_EVENT_BYTES},
    ],
    ids=["object", "key", "nan", "infinity", "exponent", "set", "nested", "large"],
)
def test_metadata_without_a_json_form_is_refused_at_once(metadata: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each says it in its own words
        event(metadata=metadata).to_json()


def test_what_the_service_takes_at_most_is_small_enough() -> None:
    widest = "x" * 128
    metadata = {"a": "\u00e9" * 1020}
    text = event(
        event_id='"' * 128, user_id=widest, subscription_id=widest, usage_type=widest, metadata=metadata
    ).to_json()
    assert len(text) <= MAX_EVENT_BYTES
    assert ReportedUsage.model_validate(json.loads(text, parse_float=Decimal)).metadata == metadata
    with pytest.raises(ValueError, match="2048 bytes"):
        ReportedUsage.model_validate(json.loads(text) | {"metadata": {"a": metadata["a"] + "....."}})
