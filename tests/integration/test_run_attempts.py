"""The attempts that a run's report is composed of."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from tests.ledgers import rows
from tests.runs import STARTED_AT, make_attempt
from usage_billing.billing import run_report_store, run_reports
from usage_billing.billing.model import MAX_REPORTED, Failure, RunTotals, UnratedLedger
from usage_billing.billing.run_reports import Attempt, RunStatus
from usage_billing.platform.tables import BillingRunTable
from usage_billing.usage.ledger import LedgerKey


def test_progress_saved_late_does_not_reopen_an_ended_attempt(aws: None) -> None:
    run_report_store.save(make_attempt(3, ended=True, totals=RunTotals("run", settled=5)))
    run_report_store.save(make_attempt(2, totals=RunTotals("run", settled=4)))
    run_report_store.save(make_attempt(3, ended=True, totals=RunTotals("run", settled=5)))
    found = run_report_store.report("run", STARTED_AT)
    assert (found.status, found.settled) == (RunStatus.COMPLETED, 5)


def test_an_attempt_reads_back_as_it_was_saved(aws: None) -> None:
    key = LedgerKey("s" * 128, "2026-11-01T00:00:00Z", "t" * 128)
    totals = RunTotals(
        "run",
        settled=7,
        items=6,
        unrated=200,
        failures=300,
        handed_over=["x", "y"],
        amounts={"USD": Decimal("10.00"), "JPY": Decimal(7), "EUR": Decimal("123456789012345678901234567890.12")},
        failed=[Failure("ledger_busy", key), Failure("queue_unavailable", shard="3")] * (MAX_REPORTED // 2),
        unrated_ledgers=[UnratedLedger(key, "p" * 128)] * MAX_REPORTED,
    )
    attempt = make_attempt(totals=totals, subscription_id="sub")
    run_report_store.save(attempt)
    [row] = rows("BILLING_RUN_TABLE")
    assert run_report_store._attempt(BillingRunTable.get("run", "first#a")) == attempt
    assert datetime.fromtimestamp(int(row["expires_at"]), UTC) == STARTED_AT + timedelta(days=400)
    found = run_report_store.report("run", STARTED_AT)
    assert found.amounts == totals.amounts
    assert str(found.amounts["USD"]) == "10.00"


@pytest.mark.parametrize(
    ("attempts", "hours", "status", "under_way", "interruptions"),
    [
        pytest.param([make_attempt(ended=True)], 99, "completed", 0, 0, id="ended"),
        pytest.param([make_attempt()], 5, "running", 1, 0, id="running"),
        pytest.param([make_attempt()], 5.1, "stalled", 1, 1, id="without progress for more than five hours"),
        pytest.param([make_attempt(), make_attempt(name="b")], 0, "running", 1, 1, id="delivered again and running"),
        pytest.param(
            [make_attempt(), make_attempt(name="b", ended=True)], 9, "completed", 0, 1, id="delivered again and ended"
        ),
        pytest.param(
            [make_attempt(ended=True), make_attempt(name="b")],
            9,
            "completed",
            0,
            1,
            id="delivered again after it ended",
        ),
        pytest.param(
            [make_attempt(ended=True, totals=RunTotals("run", handed_over=["x"]))],
            0,
            "running",
            1,
            0,
            id="continued in the queue",
        ),
        pytest.param(
            [make_attempt(ended=True, totals=RunTotals("run", handed_over=["x"]))],
            6,
            "stalled",
            1,
            0,
            id="continued in the queue but lost",
        ),
        pytest.param([make_attempt(segment="x", ended=True)], 0, "running", 1, 0, id="first segment missing"),
    ],
)
def test_the_status_of_a_run(
    attempts: list[Attempt], hours: float, status: str, under_way: int, interruptions: int
) -> None:
    found = run_reports.compose(attempts, STARTED_AT + timedelta(hours=hours))
    assert (found.status, found.segments_under_way, found.interruptions) == (status, under_way, interruptions)


def test_settled_ledgers_add_up_over_attempts_and_failures_are_those_of_the_last_ended_one() -> None:
    failed, unrated = [Failure("ledger_busy")], 2
    first = make_attempt(ended=True, totals=RunTotals("run", settled=3, failures=1, unrated=unrated, failed=failed))
    again = make_attempt(
        name="b", ended=True, started_at=STARTED_AT + timedelta(hours=1), totals=RunTotals("run", settled=2, unrated=1)
    )
    cut_off = make_attempt(
        name="c", started_at=STARTED_AT + timedelta(hours=2), totals=RunTotals("run", settled=1, failures=9)
    )
    found = run_reports.compose([again, cut_off, first], STARTED_AT)
    assert (found.settled, found.failures, found.unrated, found.failed) == (6, 0, 1, [])
