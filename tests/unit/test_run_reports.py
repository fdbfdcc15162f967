"""The report of a run, composed of its attempts: sums, status, interruptions and what is left."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.builders import make_key
from usage_billing.billing.model import FIRST_SEGMENT, Failure, RunTotals, UnratedLedger
from usage_billing.billing.run_reports import Attempt, RunReport, RunStatus, compose, snapshot

START = datetime(2026, 11, 20, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def attempt(segment: str = FIRST_SEGMENT, minute: int = 0, *, ended: bool = True, **totals: Any) -> Attempt:
    """An attempt that starts at `minute` and takes one minute."""
    started_at = START + minute * MINUTE
    return Attempt(
        run_id="run-1",
        segment_id=segment,
        attempt_id=f"{segment}@{minute}",
        subscription_id=None,
        started_at=started_at,
        updated_at=started_at + MINUTE,
        revision=1,
        ended=ended,
        totals=RunTotals("run-1", **totals),
    )


def report(*attempts: Attempt, after: timedelta = timedelta(0)) -> RunReport:
    """The report of these attempts, `after` the last update of any of them."""
    return compose(attempts, max(each.updated_at for each in attempts) + after)


def failure(number: int) -> Failure:
    return Failure("database_unavailable", make_key(usage_type=f"type-{number}"))


def unrated(number: int) -> UnratedLedger:
    return UnratedLedger(make_key(usage_type=f"type-{number}"), "business")


def test_a_report_has_the_sums_of_all_attempts_and_the_failures_of_the_last_ones() -> None:
    first = attempt(
        settled=3, items=2, unrated=1, failures=1, amounts={"USD": Decimal("1.10")}, handed_over=["a", "b"],
        failed=[failure(1)], unrated_ledgers=[unrated(1)],
    )  # fmt: skip
    cut_off = attempt("a", 2, ended=False, settled=4, items=4, failures=9, amounts={"USD": Decimal("0.90")})
    again = attempt(
        "a", 5, settled=1, items=1, unrated=1, failures=1, amounts={"EUR": Decimal("2.00")},
        failed=[failure(2)], unrated_ledgers=[unrated(2)],
    )  # fmt: skip
    assert report(again, first, cut_off) == RunReport(
        run_id="run-1",
        status=RunStatus.RUNNING,
        subscription_id=None,
        started_at=START,
        updated_at=START + 6 * MINUTE,
        settled=8,
        items=7,
        failures=2,
        unrated=2,
        amounts={"EUR": Decimal("2.00"), "USD": Decimal("2.00")},
        segments_completed=2,
        segments_under_way=1,
        interruptions=1,
        failed=[failure(1), failure(2)],
        unrated_ledgers=[unrated(1), unrated(2)],
    )


def test_a_report_names_its_run_and_subscription() -> None:
    one = report(replace(attempt(), run_id="run-7", subscription_id="sub-1"))
    assert (one.run_id, one.subscription_id) == ("run-7", "sub-1")


HOURS = timedelta(hours=5)


@pytest.mark.parametrize(
    ("attempts", "after", "status", "under_way"),
    [
        pytest.param([attempt()], HOURS * 9, "completed", 0, id="one attempt, ended"),
        pytest.param([attempt(ended=False)], HOURS, "running", 1, id="one attempt that may still run"),
        pytest.param(
            [attempt(ended=False)],
            HOURS + timedelta.resolution,
            "stalled",
            1,
            id="one attempt that cannot run any more",
        ),
        pytest.param([attempt(handed_over=["a"])], HOURS, "running", 1, id="a segment that has not started"),
        pytest.param([attempt(handed_over=["a"])], HOURS * 2, "stalled", 1, id="a segment that will never start"),
        pytest.param([attempt(handed_over=["a"]), attempt("a", 1)], HOURS * 2, "completed", 0, id="both ended"),
        pytest.param([attempt("a", 1)], HOURS, "running", 1, id="the first segment's row is missing"),
        pytest.param([attempt(), attempt(minute=2, ended=False)], HOURS * 2, "completed", 0, id="delivered twice"),
    ],
)
def test_a_run_is_completed_when_all_its_segments_are_completed(
    attempts: list[Attempt], after: timedelta, status: str, under_way: int
) -> None:
    found = report(*attempts, after=after)
    assert (found.status, found.segments_under_way) == (status, under_way)


@pytest.mark.parametrize(
    ("attempts", "after", "interruptions"),
    [
        pytest.param([attempt()], HOURS * 2, 0, id="none"),
        pytest.param([attempt(ended=False)], HOURS, 0, id="it may still run"),
        pytest.param([attempt(ended=False)], HOURS * 2, 1, id="it cannot run any more"),
        pytest.param([attempt(ended=False), attempt(minute=1, ended=False)], HOURS, 1, id="a later attempt is running"),
        pytest.param([attempt(ended=False), attempt(minute=1)], HOURS, 1, id="a later attempt ended"),
        pytest.param([attempt(), attempt(minute=1, ended=False)], HOURS, 1, id="an earlier attempt ended"),
    ],
)
def test_an_attempt_that_was_cut_off_counts_as_an_interruption(
    attempts: list[Attempt], after: timedelta, interruptions: int
) -> None:
    assert report(*attempts, after=after).interruptions == interruptions


def test_the_last_attempt_that_ended_decides_what_is_left() -> None:
    tried = [attempt(minute=0, failures=3), attempt(minute=1, failures=2), attempt(minute=2, ended=False, failures=1)]
    assert report(*tried).failures == 2
    assert report(*[replace(each, ended=False) for each in tried]).failures == 1


def test_attempts_that_started_at_the_same_instant_are_ordered_by_their_ids() -> None:
    one, other = (replace(attempt(failures=number), attempt_id=str(number)) for number in (1, 2))
    assert report(other, one).failures == report(one, other).failures == 2


def test_at_most_a_hundred_failures_and_unrated_ledgers_are_named() -> None:
    many = report(
        attempt(failed=[failure(n) for n in range(60)], unrated_ledgers=[unrated(n) for n in range(60)]),
        attempt("a", 1, failed=[failure(n) for n in range(60)], unrated_ledgers=[unrated(n) for n in range(60)]),
    )
    assert many.failed == [failure(n) for n in (*range(60), *range(40))]
    assert many.unrated_ledgers == [unrated(n) for n in (*range(60), *range(40))]


@pytest.mark.parametrize(
    ("status", "failures", "is_clean"),
    [
        pytest.param(RunStatus.COMPLETED, 0, True, id="completed"),
        pytest.param(RunStatus.COMPLETED, 1, False, id="with a failure"),
        pytest.param(RunStatus.RUNNING, 0, False, id="running"),
        pytest.param(RunStatus.STALLED, 0, False, id="stalled"),
    ],
)
def test_a_run_is_clean_when_it_is_completed_without_a_failure(
    status: RunStatus, failures: int, is_clean: bool
) -> None:
    assert replace(report(attempt()), status=status, failures=failures).is_clean is is_clean


def test_a_snapshot_does_not_change_while_the_run_continues() -> None:
    totals = RunTotals("run-1", settled=1, handed_over=["a"], amounts={"USD": Decimal(1)}, failed=[failure(1)])
    before = snapshot(totals)
    assert before == totals
    totals.handed_over.append("b")
    totals.amounts["USD"] = Decimal(2)
    totals.failed.append(failure(2))
    totals.unrated_ledgers.append(unrated(1))
    assert before == RunTotals("run-1", settled=1, handed_over=["a"], amounts={"USD": Decimal(1)}, failed=[failure(1)])
