"""The totals of an invocation of a billing run."""

from collections import Counter
from dataclasses import replace
from decimal import Decimal

from tests.builders import KEY, NOW, make_head, make_terms
from usage_billing.billing.model import Failure, RunTotals, Unrated, UnratedLedger
from usage_billing.billing.settlement import Settlement, settle

MANY = [replace(KEY, usage_type=f"type-{number}") for number in range(101)]


def settlement(used: int, currency: str = "USD") -> Settlement:
    head = make_head(make_terms(10, "2.50", currency), last_sequence=1, used=used)
    return settle(head, "run-1", NOW)


def test_amounts_are_summed_by_currency_and_ledgers_without_a_charge_count_as_settled_only() -> None:
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


def test_the_error_of_an_unrated_ledger_names_the_missing_quota() -> None:
    error = Unrated("business", "report")
    assert str(error) == "the plan business has no quota for report"
    assert (error.plan_id, error.usage_type) == ("business", "report")
