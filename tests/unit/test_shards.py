"""Shards: a name always has the same one, and all are used evenly."""

from collections import Counter

import pytest

from usage_billing.kernel.shards import SHARDS, shard_of


@pytest.mark.parametrize(
    ("name", "shard"),
    [("sub-1", "7"), ("sub-2", "13"), ("süb", "7")],
)
def test_the_shard_of_a_name_never_changes(name: str, shard: str) -> None:
    """Pending ledgers are found by their shard, so a change would lose them."""
    assert shard_of(name) == shard


def test_many_names_spread_evenly_over_all_shards() -> None:
    counts = Counter(shard_of(f"sub-{number}") for number in range(SHARDS * 1000))
    assert set(counts) == {str(shard) for shard in range(16)}
    assert max(counts.values()) < 2 * min(counts.values())
