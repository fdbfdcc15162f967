"""Run segments, and what an invocation counts."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from usage_billing.billing.model import (
    Failure,
    RunSegment,
    RunTotals,
    Unrated,
    UnratedLedger,
    whole_run,
)
from usage_billing.billing.settlement import Settlement, settle
from usage_billing.pricing.terms import Terms
from usage_billing.pricing.unit import UnitPriced
from usage_billing.subscriptions.cycles import MonthlyCycle
from usage_billing.usage.ledger import Head, LedgerKey

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
PERIOD = MonthlyCycle(1).period_of(NOW)
KEY = LedgerKey.of("sub-1", PERIOD, "report")
MANY = [replace(KEY, usage_type=f"type-{number}") for number in range(101)]


def settlement(used: int, currency: str = "USD") -> Settlement:
    terms = Terms("business", Decimal(10), UnitPriced(Decimal("2.50")), "report", currency)
    head = Head(key=KEY, user_id="user-1", period=PERIOD, terms=terms, last_sequence=1, used=Decimal(used))
    return settle(head, "run-1", NOW)


def test_amounts_are_summed_by_currency_and_what_charges_nothing_is_settled_only() -> None:
    totals = RunTotals("run-1")
    for each in (settlement(11), settlement(12), settlement(11, "EUR"), settlement(10)):
        totals.add(each)
    amounts = {"USD": Decimal("7.50"), "EUR": Decimal("2.50")}
    assert totals == RunTotals("run-1", settled=4, items=3, amounts=amounts)


def test_all_failures_are_counted_and_a_hundred_are_named() -> None:
    totals, failures = RunTotals("run-1"), [Failure("ledger_busy", key) for key in MANY]
    for each in failures:
        totals.add_failure(each)
    assert totals == RunTotals("run-1", failures=101, failed=failures[:100])


def test_all_unrated_ledgers_are_counted_and_a_hundred_are_named() -> None:
    totals = RunTotals("run-1")
    for key in MANY:
        totals.add_unrated(key, Unrated("business", "report"))
    assert totals == RunTotals(
        "run-1",
        unrated=101,
        quotas_missing=Counter({("business", "report"): 101}),
        unrated_ledgers=[UnratedLedger(key, "business") for key in MANY[:100]],
    )


def test_an_unrated_ledger_says_which_quota_is_missing() -> None:
    error = Unrated("business", "report")
    assert str(error) == "the plan business has no quota for report"
    assert (error.plan_id, error.usage_type) == ("business", "report")


def test_a_run_over_everything_takes_every_shard_once() -> None:
    segments = whole_run(run_id="run-1")
    assert segments == [RunSegment(run_id="run-1", shard=str(shard)) for shard in range(16)]
    assert {each.segment_id for each in segments} == {"first"}


def test_a_run_over_a_subscription_is_one_segment() -> None:
    assert whole_run("sub-1", "run-1") == [RunSegment(run_id="run-1", subscription_id="sub-1")]


@pytest.mark.parametrize("subscription_id", [None, "sub-1"])
def test_a_run_has_an_id_of_its_own_unless_it_is_given_one(subscription_id: str | None) -> None:
    ids = [{each.run_id for each in whole_run(subscription_id)} for _ in range(2)]
    assert [len(each) for each in ids] == [1, 1]
    assert ids[0] != ids[1]
    assert all(len(run_id) == 32 for each in ids for run_id in each)


def test_a_segment_goes_on_behind_a_ledger() -> None:
    segment = RunSegment(run_id="run-1", shard="3")
    assert segment.behind(KEY) == RunSegment(run_id="run-1", shard="3", after=("sub-1", KEY.sort_key))


def test_a_new_segment_is_the_same_part_under_another_id() -> None:
    segment = RunSegment(run_id="run-1", shard="3", after=("sub-1", KEY.sort_key))
    new = segment.as_new()
    assert new.segment_id not in (segment.segment_id, segment.as_new().segment_id)
    assert new.model_copy(update={"segment_id": segment.segment_id}) == segment
