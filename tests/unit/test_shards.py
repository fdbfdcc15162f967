"""The shards that ledgers and runs are spread over: the same for a name for ever, and all of them in use."""

from collections import Counter

import pytest

from usage_billing.kernel.shards import SHARDS, shard_of


@pytest.mark.parametrize(
    ("name", "shard"),
    [("sub-1", "7"), ("sub-2", "13"), ("süb", "7")],
)
def test_a_name_stays_in_its_shard(name: str, shard: str) -> None:
    """Ledgers that wait are found by it, so another one would lose them."""
    assert shard_of(name) == shard


def test_many_names_use_all_shards_alike() -> None:
    counts = Counter(shard_of(f"sub-{number}") for number in range(SHARDS * 1000))
    assert set(counts) == {str(shard) for shard in range(16)}
    assert max(counts.values()) < 2 * min(counts.values())
