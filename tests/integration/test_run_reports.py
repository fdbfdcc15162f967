"""What a run did can be asked for, also when it went on in the queue, was delivered twice, or was cut off."""

import itertools
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

import run_billing
from tests.api import Api, Context
from tests.faults import FAULTS, Killed, When, hooked, timed_out, watched
from tests.integration.conftest import Metrics
from tests.integration.test_runs import SCHEDULED, queued, waiting
from tests.ledgers import check, rows, unsettled
from usage_billing.billing import invocation as billing_invocation
from usage_billing.billing import report_store, reports, runner
from usage_billing.billing import store as settlement_store
from usage_billing.billing.model import MAX_REPORTED, Failure, RunTotals, UnratedLedger
from usage_billing.billing.reports import Attempt, RunStatus
from usage_billing.kernel import shards
from usage_billing.kernel.errors import BillingError, DatabaseUnavailable, QueueUnavailable, RunNotFound
from usage_billing.platform import clock, queues, retries
from usage_billing.usage.ledger import LedgerKey

LEDGERS = 12
EVENT = SCHEDULED | {"id": "7bf73129-1428-4cd3-a780-95db273d1602"}
RUN_ID = "7bf7312914284cd3a78095db273d1602"
NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0)


@pytest.fixture
def many(ready: Api, monkeypatch: pytest.MonkeyPatch) -> Api:
    """Ledgers of many subscriptions, of which one invocation without time takes on two."""
    monkeypatch.setattr(runner, "IN_FLIGHT", 2)
    for number in range(LEDGERS):
        ready.subscribe(f"sub-{number}")
        ready.record(f"e{number}", 51, subscriptionId=f"sub-{number}")
    return ready


def report(api: Api, run_id: str) -> dict[str, Any]:
    answer = api.get(f"/api/billing/runs/{run_id}")
    assert answer.status == 200, answer.text
    return dict(answer.json)


def on_invoices(run_id: str) -> tuple[int, Decimal]:
    """How many items a run made, and their sum: the truth that a report is held against."""
    found = [row["amount"] for row in rows("USAGE_INVOICE_ITEM_TABLE") if row["run_id"] == run_id]
    return len(found), sum(found, Decimal(0))


def reported(answer: dict[str, Any]) -> tuple[int, Decimal]:
    return answer["itemsCreated"], Decimal(answer["totals"].get("USD", 0))


def drain() -> list[str]:
    """Deliver the messages of the billing queue until there are none; all that were delivered."""
    delivered: list[str] = []
    while messages := waiting():
        for message in messages:
            run_billing.handler(queued(message), Context())
        delivered += messages
    return delivered


def test_the_report_of_a_run_says_what_its_answer_said(many: Api, at: Callable[[str], None]) -> None:
    at("2026-11-21T00:00:00Z")
    many.record("unrated", usageType="unknown", subscriptionId="sub-3")
    answer = many.bill().json
    assert report(many, answer["runId"]) == {
        "runId": answer["runId"],
        "status": "completed",
        "subscriptionId": None,
        "startedAt": "2026-11-21T00:00:00Z",
        "updatedAt": "2026-11-21T00:00:00Z",
        "ledgersSettled": LEDGERS,
        "itemsCreated": LEDGERS,
        "failures": 0,
        "ledgersUnrated": 1,
        "totals": {"USD": "120.00"},
        "segmentsCompleted": 1,
        "segmentsUnderWay": 0,
        "interruptions": 0,
        "failedLedgers": [],
        "unratedLedgers": [
            {
                "subscriptionId": "sub-3",
                "periodStart": "2026-11-01T00:00:00Z",
                "usageType": "unknown",
                "planId": "business",
            }
        ],
    }
    assert report(many, many.bill(subscriptionId="sub-3").json["runId"])["subscriptionId"] == "sub-3"


def test_a_run_that_continues_is_reported_until_its_last_segment_ends(many: Api, metrics: Metrics) -> None:
    metrics()
    answer = many.post("/api/usage/process-billing", seconds=0).json
    run_id = answer["runId"]
    found = report(many, run_id)
    assert (answer["status"], found["status"]) == ("continues", "running")
    assert (found["ledgersSettled"], found["segmentsCompleted"]) == (2, 1)
    messages = waiting()
    assert found["segmentsUnderWay"] == len(messages)
    while messages:
        assert "BillingRuns" not in metrics()
        assert report(many, run_id)["status"] == "running"
        run_billing.handler(queued(messages.pop(0)), Context())
        messages += waiting()
    assert metrics()["BillingRuns"] == 1, "counted by its last segment"
    found = report(many, run_id)
    assert (found["status"], found["segmentsUnderWay"], found["interruptions"]) == ("completed", 0, 0)
    assert reported(found) == on_invoices(run_id) == (LEDGERS, Decimal(120))


def test_a_run_whose_last_segments_are_clean_but_not_its_first_is_no_good_run(
    many: Api, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as failing:
        failing.setattr(settlement_store, "save_settlement", lambda *_: 1 / 0)
        run_id = many.post("/api/usage/process-billing", seconds=0).json["runId"]
    metrics()
    drain()
    assert "BillingRuns" not in metrics()
    found = report(many, run_id)
    assert (found["status"], found["failures"], found["ledgersSettled"]) == ("completed", 2, LEDGERS - 2)
    assert {each["code"] for each in found["failedLedgers"]} == {"internal_error"}
    assert {each["usageType"] for each in found["failedLedgers"]} == {"assessment"}


def test_segments_that_are_delivered_twice_count_once(many: Api) -> None:
    run_billing.handler(EVENT, Context(seconds=0))
    messages = waiting()
    for _ in range(2):
        run_billing.handler(queued(*messages), Context())
    found = report(many, RUN_ID)
    assert reported(found) == on_invoices(RUN_ID) == (LEDGERS, Decimal(120))
    assert (found["status"], found["segmentsCompleted"]) == ("completed", 1 + len(messages))


def test_a_scheduled_run_is_found_in_the_list_and_in_the_log(many: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    run_billing.handler(EVENT, Context())
    [run] = many.get("/api/billing/runs").json["runs"]
    assert run == {name: value for name, value in report(many, RUN_ID).items() if not name.endswith("Ledgers")}
    assert [vars(record)["run_id"] for record in caplog.records if record.getMessage() == "billing run completed"] == [
        RUN_ID]  # fmt: skip


def test_a_scheduled_run_that_crashed_is_continued_by_its_retry(many: Api, metrics: Metrics) -> None:
    with watched() as calls, suppress(Killed):
        calls.fail(12, "after", Killed)
        run_billing.handler(EVENT, Context())
    assert report(many, RUN_ID)["status"] == "running"
    metrics()
    run_billing.handler(EVENT, Context())
    assert metrics()["BillingRuns"] == 1
    found = report(many, RUN_ID)
    assert (found["status"], found["interruptions"]) == ("completed", 1)
    assert [run["runId"] for run in many.get("/api/billing/runs").json["runs"]] == [RUN_ID]


@pytest.mark.parametrize("event", [{}, {"id": 1}, {"id": "no uuid", "time": "2026-11-20T00:00:00Z"}, SCHEDULED, EVENT])
def test_whatever_starts_a_run_it_is_listed(ready: Api, event: dict[str, Any]) -> None:
    run_billing.handler(event, Context())
    [run] = ready.get("/api/billing/runs").json["runs"]
    assert (run["runId"] == RUN_ID) == (event is EVENT)


def test_runs_are_listed_newest_first_and_page_by_page(ready: Api, at: Callable[[str], None]) -> None:
    started = []
    for second in ("10", "09.5", "11", "10.25"):
        at(f"2026-11-21T00:00:{second}Z")
        started.append((Decimal(second), ready.bill().json["runId"]))
    expected = [run_id for _, run_id in sorted(started, reverse=True)]
    for limit in (1, 3, 4, 10):
        pages = ready.walk("/api/billing/runs", "runs", limit=limit)
        assert [run["runId"] for page in pages for run in page] == expected
    answer = ready.get("/api/billing/runs", query={"cursor": "nonsense"})
    assert (answer.status, answer.code) == (422, "validation_error")


def test_a_list_reads_nothing_that_it_does_not_show(ready: Api) -> None:
    """Each row of a run may name two hundred ledgers."""
    key = LedgerKey("s" * 128, "2026-11-01T00:00:00Z", "t" * 128)
    unrated, failed = [UnratedLedger(key, "p" * 128)] * MAX_REPORTED, [Failure("ledger_busy", key)] * MAX_REPORTED
    for number in range(100):
        run_id = f"{number:032x}"
        totals = RunTotals(run_id, settled=1, unrated_ledgers=unrated, failed=failed, amounts={"USD": Decimal(1)})
        report_store.save(replace(an_attempt(ended=True, totals=totals), run_id=run_id))
        report_store.add_to_list(run_id, NOW)
    read: list[int] = []
    with hooked(lambda **_: None, lambda parsed, **_: read.append(len(str(parsed["Items"])))):
        answer = ready.get("/api/billing/runs", query={"limit": "100"})
    assert [run["ledgersSettled"] for run in answer.json["runs"]] == [1] * 100
    assert (len(read), len(answer.text) < 100_000) == (101, True)
    assert sum(read) < 200_000
    shown = report(ready, run_id)
    assert len(shown["failedLedgers"]) == len(shown["unratedLedgers"]) == MAX_REPORTED


def test_a_page_of_runs_ends_when_time_runs_out_and_is_continued(ready: Api) -> None:
    for number in range(3):
        report_store.save(replace(an_attempt(ended=True), run_id=f"{number:032x}"))
        report_store.add_to_list(f"{number:032x}", NOW)
    report_store.add_to_list(f"{3:032x}", NOW)  # cut off before its first row was written
    pages: list[list[str]] = []
    query: dict[str, str] = {}
    while len(pages) < 10:
        answer = ready.get("/api/billing/runs", query=query, seconds=1)
        pages.append([run["runId"] for run in answer.json["runs"]])
        if "nextCursor" not in answer.json:
            break
        query = {"cursor": answer.json["nextCursor"]}
    assert pages == [[], [f"{2:032x}"], [f"{1:032x}"], [f"{0:032x}"]]


@pytest.mark.parametrize("run_id", ["nothing", "runs", "0" * 32])
def test_an_unknown_run_is_404(ready: Api, run_id: str) -> None:
    ready.bill()
    answer = ready.get(f"/api/billing/runs/{run_id}")
    assert (answer.status, answer.code) == (404, "run_not_found")


def test_shards_that_cannot_be_listed_are_named(many: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    pending, tried = settlement_store.pending, []

    def broken(shard: str, *after: Any) -> Any:
        if shard == "3":
            tried.append(shard)
            raise timed_out()
        return pending(shard, *after)

    monkeypatch.setattr(settlement_store, "pending", broken)
    answer = many.bill().json
    assert answer["failures"] == 1
    assert len(tried) == runner.MAX_LISTINGS
    assert report(many, answer["runId"])["failedLedgers"] == [
        {"code": "database_unavailable", "subscriptionId": None, "periodStart": None, "usageType": None, "shard": "3"}
    ]


def test_segments_that_the_queue_does_not_take_are_named_and_the_retry_mends_it(
    many: Api, monkeypatch: pytest.MonkeyPatch, metrics: Metrics
) -> None:
    with monkeypatch.context() as failing:
        failing.setattr(queues, "send_batch", lambda _, messages: {0: QueueUnavailable("none")})
        with pytest.raises(QueueUnavailable):
            run_billing.handler(EVENT, Context(seconds=0))
    found = report(many, RUN_ID)
    assert {(each["code"], each["usageType"]) for each in found["failedLedgers"]} == {("queue_unavailable", None)}
    assert found["failures"] == len(found["failedLedgers"]) > 1
    metrics()
    run_billing.handler(EVENT, Context())
    assert metrics()["BillingRuns"] == 1
    found = report(many, RUN_ID)
    assert (found["failures"], found["failedLedgers"], found["status"]) == (0, [], "completed")
    assert reported(found) == on_invoices(RUN_ID)


def every_fault() -> list[object]:
    return [
        pytest.param(when, error, id=f"{name}, {when} it took effect")
        for when, (name, error) in itertools.product(("before", "after"), FAULTS.items())
    ]


@pytest.mark.parametrize(("when", "error"), every_fault())
def test_a_run_in_which_any_call_failed_is_reported_without_counting_anything_twice(
    ready: Api, monkeypatch: pytest.MonkeyPatch, when: When, error: Callable[[], BaseException]
) -> None:
    """Whatever fails, the report never says more than was charged; clean retries complete it."""
    monkeypatch.setattr(runner, "IN_FLIGHT", 1)
    monkeypatch.setattr(billing_invocation, "SAVE_INTERVAL_SECONDS", 0)
    monkeypatch.setattr(shards, "SHARDS", 2)
    for number in itertools.count(1):
        for name in range(2):
            ready.subscribe(f"{number}-sub-{name}")
            ready.record(f"e-{number}", 51, subscriptionId=f"{number}-sub-{name}")
        run_id = f"{number:032x}"
        event = EVENT | {"id": run_id}
        with watched() as calls:
            calls.fail(number, when, error)
            failed = attempt(lambda: run_billing.handler(event, Context(seconds=0)))  # noqa: B023 - called at once
            struck = len(calls.made) >= number
        with suppress(RunNotFound):
            held_against_invoices(run_id)
        if failed:
            run_billing.handler(event, Context(seconds=0))
        drain()
        found = held_against_invoices(run_id)
        assert found.status == RunStatus.COMPLETED
        if not struck:
            break
    assert list(unsettled(check())) == []
    assert (found.items, found.amounts["USD"]) == on_invoices(run_id), "nothing failed at all"
    assert number > 9, "the first calls list the run, the last ones save and read the report"


def attempt(invocation: Callable[[], object]) -> bool:
    """Whether an invocation failed, so that Lambda or the queue makes it again."""
    try:
        invocation()
    except (BillingError, Killed):
        return True
    return False


def held_against_invoices(run_id: str) -> reports.RunReport:
    found = report_store.report(run_id, clock.now())
    items, amount = on_invoices(run_id)
    assert found.items <= items
    assert found.amounts.get("USD", Decimal(0)) <= amount
    return found


def test_a_report_that_cannot_be_begun_keeps_nobody_from_being_billed(
    many: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    table = os.environ["BILLING_RUN_TABLE"]
    with watched() as calls:
        calls.fail_where(lambda parameters: parameters.get("TableName") == table, timed_out)
        with pytest.raises(DatabaseUnavailable):
            run_billing.handler(EVENT, Context())
    assert list(unsettled(check())) == []
    messages = [record.getMessage() for record in caplog.records]
    assert "run progress not saved" in messages
    assert "run report not saved" in messages
    run_billing.handler(EVENT, Context())
    assert report(many, RUN_ID)["status"] == "completed"


def test_a_run_that_could_not_be_listed_when_it_began_is_listed_when_it_ends(many: Api) -> None:
    with watched() as calls:
        calls.fail(1, "before", timed_out)
        run_billing.handler(EVENT, Context())
    [run] = many.get("/api/billing/runs").json["runs"]
    assert (run["runId"], run["status"], run["ledgersSettled"]) == (RUN_ID, "completed", LEDGERS)


def test_progress_is_saved_while_a_run_is_under_way(many: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """An invocation that is cut off loses only what it did since."""
    monkeypatch.setattr(billing_invocation, "SAVE_INTERVAL_SECONDS", 0)
    saved: list[tuple[int, bool]] = []
    save = report_store.save

    def watch(attempt: Attempt) -> None:
        saved.append((attempt.totals.settled, attempt.ended))
        if attempt.ended:
            raise Killed
        save(attempt)

    monkeypatch.setattr(report_store, "save", watch)
    with pytest.raises(Killed):
        run_billing.handler(EVENT, Context())
    assert saved == [*((number, False) for number in range(LEDGERS + 1)), (LEDGERS, True)]
    found = report(many, RUN_ID)
    assert (found["status"], found["ledgersSettled"]) == ("running", LEDGERS)


def test_progress_is_not_saved_all_the_time(many: Api) -> None:
    with watched() as calls:
        run_billing.handler(EVENT, Context())
    # Listed, begun, ended; one more Query than there are shards reads the report.
    assert calls.made.count("PutItem") == 3
    assert calls.made.count("Query") == shards.SHARDS + 1


def an_attempt(revision: int = 1, *, segment: str = "first", name: str = "a", **changes: Any) -> Attempt:
    values: dict[str, Any] = {"ended": False, "totals": RunTotals("run"), "subscription_id": None}
    values |= {"started_at": NOW, "updated_at": NOW}
    return Attempt("run", segment, name, revision=revision, **values | changes)


def test_progress_that_arrives_late_does_not_undo_the_end(aws: None) -> None:
    report_store.save(an_attempt(3, ended=True, totals=RunTotals("run", settled=5)))
    report_store.save(an_attempt(2, totals=RunTotals("run", settled=4)))
    report_store.save(an_attempt(3, ended=True, totals=RunTotals("run", settled=5)))
    found = report_store.report("run", NOW)
    assert (found.status, found.settled) == (RunStatus.COMPLETED, 5)


def test_everything_that_is_saved_reads_back(aws: None) -> None:
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
    attempt = an_attempt(totals=totals, subscription_id="sub")
    report_store.save(attempt)
    [row] = rows("BILLING_RUN_TABLE")
    assert report_store._attempt(report_store.BillingRunTable.get("run", "first#a")) == attempt
    assert datetime.fromtimestamp(int(row["expires_at"]), UTC) == NOW + timedelta(days=400)
    found = report_store.report("run", NOW)
    assert found.amounts == totals.amounts
    assert str(found.amounts["USD"]) == "10.00"


@pytest.mark.parametrize(
    ("attempts", "hours", "status", "under_way", "interruptions"),
    [
        pytest.param([an_attempt(ended=True)], 99, "completed", 0, 0, id="ended"),
        pytest.param([an_attempt()], 5, "running", 1, 0, id="at work"),
        pytest.param([an_attempt()], 5.1, "stalled", 1, 1, id="not heard of for five hours"),
        pytest.param([an_attempt(), an_attempt(name="b")], 0, "running", 1, 1, id="delivered again and at work"),
        pytest.param([an_attempt(), an_attempt(name="b", ended=True)], 9, "completed", 0, 1, id="delivered again"),
        pytest.param([an_attempt(ended=True), an_attempt(name="b")], 9, "completed", 0, 1, id="again for nothing"),
        pytest.param(
            [an_attempt(ended=True, totals=RunTotals("run", handed_over=["x"]))], 0, "running", 1, 0, id="in the queue"
        ),
        pytest.param(
            [an_attempt(ended=True, totals=RunTotals("run", handed_over=["x"]))], 6, "stalled", 1, 0, id="and lost"
        ),
        pytest.param([an_attempt(segment="x", ended=True)], 0, "running", 1, 0, id="the first segment is not known"),
    ],
)
def test_the_status_of_a_run(
    attempts: list[Attempt], hours: float, status: str, under_way: int, interruptions: int
) -> None:
    found = reports.compose(attempts, NOW + timedelta(hours=hours))
    assert (found.status, found.segments_under_way, found.interruptions) == (status, under_way, interruptions)


def test_counts_sum_over_attempts_but_what_is_left_is_what_the_last_one_found() -> None:
    failed, unrated = [Failure("ledger_busy")], 2
    first = an_attempt(ended=True, totals=RunTotals("run", settled=3, failures=1, unrated=unrated, failed=failed))
    again = an_attempt(
        name="b", ended=True, started_at=NOW + timedelta(hours=1), totals=RunTotals("run", settled=2, unrated=1)
    )
    cut_off = an_attempt(name="c", started_at=NOW + timedelta(hours=2), totals=RunTotals("run", settled=1, failures=9))
    found = reports.compose([again, cut_off, first], NOW)
    assert (found.settled, found.failures, found.unrated, found.failed) == (6, 0, 1, [])
