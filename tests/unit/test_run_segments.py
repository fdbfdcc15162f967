"""Run segments: the parts of a run, their ids, and their form in the queue."""

import pytest

from tests.builders import KEY
from tests.unit.fake_ledgers import key, shard
from usage_billing.billing.model import RunSegment
from usage_billing.billing.runner import whole_run
from usage_billing.kernel import shards as kernel_shards


def test_a_whole_run_has_one_id_and_a_segment_for_each_shard() -> None:
    segments = whole_run()
    assert [segment.shard for segment in segments] == [str(number) for number in range(16)]
    assert len({segment.run_id for segment in segments}) == 1
    assert whole_run()[0].run_id != segments[0].run_id


def test_every_ledger_is_in_a_shard_of_a_whole_run() -> None:
    shards = {kernel_shards.shard_of(key(number).ledger_id) for number in range(1000)}
    assert shards == {segment.shard for segment in whole_run()}


def test_a_segment_reads_back_from_its_message() -> None:
    for segment in [*whole_run(), *whole_run("sub-1"), shard("3").starting_after(key(5)).with_id("another")]:
        for text in (segment.model_dump_json(), segment.model_dump_json(by_alias=True, exclude_none=True)):
            assert RunSegment.model_validate_json(text) == segment


def test_a_whole_run_starts_with_first_segments_of_all_shards() -> None:
    segments = whole_run(run_id="run-1")
    assert segments == [RunSegment(run_id="run-1", shard=str(shard)) for shard in range(16)]
    assert {each.segment_id for each in segments} == {"first"}


def test_a_run_of_one_subscription_is_one_segment() -> None:
    assert whole_run("sub-1", "run-1") == [RunSegment(run_id="run-1", subscription_id="sub-1")]


@pytest.mark.parametrize("subscription_id", [None, "sub-1"])
def test_a_run_gets_a_new_id_unless_one_is_given(subscription_id: str | None) -> None:
    ids = [{each.run_id for each in whole_run(subscription_id)} for _ in range(2)]
    assert [len(each) for each in ids] == [1, 1]
    assert ids[0] != ids[1]
    assert all(len(run_id) == 32 for each in ids for run_id in each)


def test_a_segment_can_continue_after_a_ledger() -> None:
    segment = RunSegment(run_id="run-1", shard="3")
    assert segment.starting_after(KEY) == RunSegment(run_id="run-1", shard="3", after=("sub-1", KEY.sort_key))


def test_a_new_segment_differs_only_in_its_id() -> None:
    segment = RunSegment(run_id="run-1", shard="3", after=("sub-1", KEY.sort_key))
    new = segment.with_id("another")
    assert (segment.segment_id, new.segment_id) == ("first", "another")
    assert new.model_copy(update={"segment_id": segment.segment_id}) == segment
