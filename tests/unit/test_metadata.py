"""The limits of metadata: levels, keys and bytes."""

import tracemalloc
from decimal import Decimal
from typing import Any

import pytest
from pydantic import TypeAdapter

from tests.unit.validation import refusal
from usage_billing.usage.metadata import Metadata

METADATA: TypeAdapter[Any] = TypeAdapter(Metadata)


def nested(levels: int) -> dict[str, Any]:
    return {"a": nested(levels - 1)} if levels > 1 else {"a": 1}


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({}, id="empty"),
        pytest.param({"a": [1, None, True, Decimal("0.1"), "ä"]}, id="any kind of value"),
        pytest.param(nested(3), id="three levels"),
        pytest.param({"a": [[1]]}, id="lists count as levels"),
        pytest.param({f"k{n}": n for n in range(50)}, id="fifty keys"),
        pytest.param({"a": "x" * (2048 - len('{"a":""}'))}, id="exactly 2 KB"),
    ],
)
def test_metadata_within_its_limits_is_accepted(value: dict[str, Any]) -> None:
    assert METADATA.validate_python(value) == value


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
        pytest.param({"a": "\ud800"}, "must be valid Unicode text", id="an unpaired surrogate"),
        pytest.param({"\ud800": 1}, "must be valid Unicode text", id="an unpaired surrogate in a key"),
        pytest.param([], "Input should be a valid dictionary", id="a list"),
        pytest.param("a", "Input should be a valid dictionary", id="text"),
        pytest.param(None, "Input should be a valid dictionary", id="null"),
    ],
)
def test_metadata_beyond_its_limits_is_refused_with_a_reason(value: object, reason: str) -> None:
    assert refusal(METADATA, value) == reason


def test_metadata_nested_very_deeply_is_refused_without_overflowing_the_stack() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert "nested deeper" in refusal(METADATA, {"a": deep})
    while deep:  # freed level by level, because freeing all of it at once would recurse
        deep = deep[0]


@pytest.mark.parametrize("number", ["1e4299", "-1e-4299", "0e4299"])
@pytest.mark.parametrize("shape", ["list", "lists", "objects"])
def test_metadata_with_numbers_of_many_digits_is_refused_before_they_are_written_out(number: str, shape: str) -> None:
    numbers: list[Any] = [Decimal(number)] * 150_000
    value = {"list": numbers, "lists": [numbers[:10]] * 15_000, "objects": [{"a": n} for n in numbers[:40]]}[shape]
    tracemalloc.start()
    try:
        reason = refusal(METADATA, {"a": value})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "2048 bytes" in reason
    assert peak < 1_000_000


@pytest.mark.parametrize(
    ("numbers", "size"),
    [
        pytest.param([Decimal("1e2048")], ", takes 2057", id="one number just within the limit"),
        pytest.param([Decimal("1e2049")], "", id="one number beyond the limit"),
        pytest.param([Decimal("1e1024"), Decimal("1e1024")], ", takes 2059", id="two numbers just within the limit"),
        pytest.param([Decimal("1e1024"), Decimal("1e1025")], "", id="two numbers beyond the limit"),
        pytest.param([Decimal("1e2048"), Decimal("1e1")], "", id="the last of two goes beyond the limit"),
        pytest.param([[Decimal("1e1024")], {"b": Decimal("1e1025")}], "", id="two numbers on different levels"),
        pytest.param([1] * 3000, ", takes 6007", id="many short whole numbers"),
        pytest.param([[1]] * 3000, ", takes 12007", id="many short whole numbers in lists"),
    ],
)
def test_the_reason_has_the_size_unless_numbers_are_too_long_to_be_written_out(numbers: list[Any], size: str) -> None:
    assert refusal(METADATA, {"a": numbers}) == f"must take at most 2048 bytes as JSON{size}"


def test_metadata_may_contain_a_long_number() -> None:
    value = {"a": Decimal("1e2000")}
    assert METADATA.validate_python(value) == value
