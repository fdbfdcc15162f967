"""A usage event and its JSON, which is exact and readable by the service."""

import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.recorder.helpers import NOW, event
from usage_billing.usage.api import ReportedUsage
from usage_recorder.events import MAX_EVENT_BYTES, UsageEvent
from usage_recorder.validation import aware_time, exact_quantity

_scalars = st.none() | st.booleans() | st.integers() | st.text() | st.decimals(-100, 100, places=3)
_values = st.recursive(_scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@given(st.decimals(min_value="0.000000001", max_value="999999999999", places=9))
def test_the_service_reads_the_exact_quantity(quantity: Decimal) -> None:
    text = event(quantity=exact_quantity(quantity)).to_json()
    assert ReportedUsage.model_validate(json.loads(text, parse_float=Decimal)).quantity == quantity


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


def test_an_event_spooled_by_another_version_can_be_read() -> None:
    earlier = """{"eventId":"e1","userId":"user-1","subscriptionId":"sub-1","usageType":"report","quantity":1,
        "occurredAt":"2026-11-20T12:00:00.250000Z","metadata":{}}"""
    assert UsageEvent.from_json(earlier) == event()
    assert UsageEvent.from_json(earlier.replace('"metadata"', '"unheardOf":{"a":[1]},"metadata"')) == event()


def test_a_time_is_written_in_utc() -> None:
    there = NOW.astimezone(timezone(timedelta(hours=5)))
    assert '"occurredAt":"2026-11-20T12:00:00.250000Z"' in event(occurred_at=there).to_json()
    with pytest.raises(ValueError, match="time zone"):
        aware_time(datetime(2026, 11, 20))  # noqa: DTZ001


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
def test_metadata_that_cannot_be_json_is_refused(metadata: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each says it in its own words
        event(metadata=metadata).to_json()


def test_the_largest_event_that_the_service_accepts_is_accepted_here() -> None:
    widest = "x" * 128
    metadata = {"a": "\u00e9" * 1020}
    text = event(
        event_id='"' * 128, user_id=widest, subscription_id=widest, usage_type=widest, metadata=metadata
    ).to_json()
    assert len(text) <= MAX_EVENT_BYTES
    assert ReportedUsage.model_validate(json.loads(text, parse_float=Decimal)).metadata == metadata
    with pytest.raises(ValueError, match="2048 bytes"):
        ReportedUsage.model_validate(json.loads(text) | {"metadata": {"a": metadata["a"] + "....."}})
