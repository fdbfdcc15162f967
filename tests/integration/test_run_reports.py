"""The report of a billing run, also when the run continues in segments, is delivered twice, or crashes."""

import itertools
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

import run_billing
from tests.api import Api, Context
from tests.clocks import At
from tests.faults import Killed, When, every_fault, hooked, timed_out, watched
from tests.ledgers import check, rows, unsettled
from tests.metrics import Metrics
from tests.runs import LEDGERS, SCHEDULED, STARTED_AT, make_attempt, sqs_event, take_segments
from usage_billing.billing import run_invocation, run_report_store, run_reports, runner
from usage_billing.billing import store as settlement_store
from usage_billing.billing.model import MAX_REPORTED, Failure, RunTotals, UnratedLedger
from usage_billing.billing.run_reports import Attempt, RunStatus
from usage_billing.kernel import shards
from usage_billing.kernel.errors import BillingError, DatabaseUnavailable, QueueUnavailable, RunNotFound
from usage_billing.platform import clock, queues
from usage_billing.usage.ledger import LedgerKey

pytestmark = pytest.mark.usefixtures("no_pauses")

EVENT = SCHEDULED | {"id": "7bf73129-1428-4cd3-a780-95db273d1602"}
RUN_ID = "7bf7312914284cd3a78095db273d1602"


def report(api: Api, run_id: str) -> dict[str, Any]:
    answer = api.get(f"/api/billing/runs/{run_id}")
    assert answer.status == 200, answer.text
    return dict(answer.json)


def items_and_amount_of(run_id: str) -> tuple[int, Decimal]:
    """The number of invoice items that a run created, and their sum. A report must agree with it."""
    found = [row["amount"] for row in rows("USAGE_INVOICE_ITEM_TABLE") if row["run_id"] == run_id]
    return len(found), sum(found, Decimal(0))


def items_and_amount_in(answer: dict[str, Any]) -> tuple[int, Decimal]:
    return answer["itemsCreated"], Decimal(answer["totals"].get("USD", 0))


def deliver_all_segments() -> list[str]:
    """Deliver run segments until the queue is empty. Return all that were delivered."""
    delivered: list[str] = []
    while messages := take_segments():
        for message in messages:
            run_billing.handler(sqs_event(message), Context())
        delivered += messages
    return delivered


def test_the_report_of_a_run_agrees_with_the_response(many_ledgers: Api, at: At) -> None:
    at("2026-11-21T00:00:00Z")
    many_ledgers.record("unrated", usageType="unknown", subscriptionId="sub-3")
    answer = many_ledgers.bill().json
    assert report(many_ledgers, answer["runId"]) == {
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
    assert report(many_ledgers, many_ledgers.bill(subscriptionId="sub-3").json["runId"])["subscriptionId"] == "sub-3"


def test_a_run_that_continues_is_reported_until_its_last_segment_ends(many_ledgers: Api, metrics: Metrics) -> None:
    metrics()
    answer = many_ledgers.post("/api/usage/process-billing", seconds=0).json
    run_id = answer["runId"]
    found = report(many_ledgers, run_id)
    assert (answer["status"], found["status"]) == ("continues", "running")
    assert (found["ledgersSettled"], found["segmentsCompleted"]) == (2, 1)
    messages = take_segments()
    assert found["segmentsUnderWay"] == len(messages)
    while messages:
        assert "BillingRuns" not in metrics()
        assert report(many_ledgers, run_id)["status"] == "running"
        run_billing.handler(sqs_event(messages.pop(0)), Context())
        messages += take_segments()
    assert metrics()["BillingRuns"] == 1, "the last segment counts the run"
    found = report(many_ledgers, run_id)
    assert (found["status"], found["segmentsUnderWay"], found["interruptions"]) == ("completed", 0, 0)
    assert items_and_amount_in(found) == items_and_amount_of(run_id) == (LEDGERS, Decimal(120))


def test_a_run_with_a_failed_first_segment_is_not_a_good_run(
    many_ledgers: Api, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as failing:
        failing.setattr(settlement_store, "save_settlement", lambda *_: 1 / 0)
        run_id = many_ledgers.post("/api/usage/process-billing", seconds=0).json["runId"]
    metrics()
    deliver_all_segments()
    assert "BillingRuns" not in metrics()
    found = report(many_ledgers, run_id)
    assert (found["status"], found["failures"], found["ledgersSettled"]) == ("completed", 2, LEDGERS - 2)
    assert {each["code"] for each in found["failedLedgers"]} == {"internal_error"}
    assert {each["usageType"] for each in found["failedLedgers"]} == {"assessment"}


def test_a_segment_that_is_delivered_twice_counts_once(many_ledgers: Api) -> None:
    run_billing.handler(EVENT, Context(seconds=0))
    messages = take_segments()
    for _ in range(2):
        run_billing.handler(sqs_event(*messages), Context())
    found = report(many_ledgers, RUN_ID)
    assert items_and_amount_in(found) == items_and_amount_of(RUN_ID) == (LEDGERS, Decimal(120))
    assert (found["status"], found["segmentsCompleted"]) == ("completed", 1 + len(messages))


def test_a_scheduled_run_is_in_the_list_and_in_the_log(many_ledgers: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    run_billing.handler(EVENT, Context())
    [run] = many_ledgers.get("/api/billing/runs").json["runs"]
    assert run == {name: value for name, value in report(many_ledgers, RUN_ID).items() if not name.endswith("Ledgers")}
    assert [vars(record)["run_id"] for record in caplog.records if record.getMessage() == "billing run completed"] == [
        RUN_ID]  # fmt: skip


def test_the_retry_of_a_crashed_scheduled_run_continues_it(many_ledgers: Api, metrics: Metrics) -> None:
    with watched() as calls, suppress(Killed):
        calls.fail(12, "after", Killed)
        run_billing.handler(EVENT, Context())
    assert report(many_ledgers, RUN_ID)["status"] == "running"
    metrics()
    run_billing.handler(EVENT, Context())
    assert metrics()["BillingRuns"] == 1
    found = report(many_ledgers, RUN_ID)
    assert (found["status"], found["interruptions"]) == ("completed", 1)
    assert [run["runId"] for run in many_ledgers.get("/api/billing/runs").json["runs"]] == [RUN_ID]


@pytest.mark.parametrize("event", [{}, {"id": 1}, {"id": "no uuid", "time": "2026-11-20T00:00:00Z"}, SCHEDULED, EVENT])
def test_a_run_is_listed_whatever_event_started_it(ready: Api, event: dict[str, Any]) -> None:
    run_billing.handler(event, Context())
    [run] = ready.get("/api/billing/runs").json["runs"]
    assert (run["runId"] == RUN_ID) == (event is EVENT)


def test_runs_are_listed_newest_first_in_pages(ready: Api, at: At) -> None:
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


def test_the_list_of_runs_does_not_read_the_ledgers_that_they_name(ready: Api) -> None:
    """Each row of a run may name 200 ledgers."""
    key = LedgerKey("s" * 128, "2026-11-01T00:00:00Z", "t" * 128)
    unrated, failed = [UnratedLedger(key, "p" * 128)] * MAX_REPORTED, [Failure("ledger_busy", key)] * MAX_REPORTED
    for number in range(100):
        run_id = f"{number:032x}"
        totals = RunTotals(run_id, settled=1, unrated_ledgers=unrated, failed=failed, amounts={"USD": Decimal(1)})
        run_report_store.save(replace(make_attempt(ended=True, totals=totals), run_id=run_id))
        run_report_store.add_to_list(run_id, STARTED_AT)
    read: list[int] = []
    with hooked(lambda **_: None, lambda parsed, **_: read.append(len(str(parsed["Items"])))):
        answer = ready.get("/api/billing/runs", query={"limit": "100"})
    assert [run["ledgersSettled"] for run in answer.json["runs"]] == [1] * 100
    assert (len(read), len(answer.text) < 100_000) == (101, True)
    assert sum(read) < 200_000
    shown = report(ready, run_id)
    assert len(shown["failedLedgers"]) == len(shown["unratedLedgers"]) == MAX_REPORTED


def test_a_page_of_runs_ends_early_when_time_runs_out(ready: Api) -> None:
    for number in range(3):
        run_report_store.save(replace(make_attempt(ended=True), run_id=f"{number:032x}"))
        run_report_store.add_to_list(f"{number:032x}", STARTED_AT)
    run_report_store.add_to_list(f"{3:032x}", STARTED_AT)  # crashed before it wrote its first row
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


def test_a_shard_that_cannot_be_listed_is_named(many_ledgers: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    pending, tried = settlement_store.pending, []

    def broken(shard: str, *after: Any) -> Any:
        if shard == "3":
            tried.append(shard)
            raise timed_out()
        return pending(shard, *after)

    monkeypatch.setattr(settlement_store, "pending", broken)
    answer = many_ledgers.bill().json
    assert answer["failures"] == 1
    assert len(tried) == runner.MAX_LISTINGS
    assert report(many_ledgers, answer["runId"])["failedLedgers"] == [
        {"code": "database_unavailable", "subscriptionId": None, "periodStart": None, "usageType": None, "shard": "3"}
    ]


def test_segments_that_cannot_be_enqueued_are_named_and_completed_by_the_retry(
    many_ledgers: Api, monkeypatch: pytest.MonkeyPatch, metrics: Metrics
) -> None:
    with monkeypatch.context() as failing:
        failing.setattr(queues, "send_batch", lambda _, messages: {0: QueueUnavailable("none")})
        with pytest.raises(QueueUnavailable):
            run_billing.handler(EVENT, Context(seconds=0))
    found = report(many_ledgers, RUN_ID)
    assert {(each["code"], each["usageType"]) for each in found["failedLedgers"]} == {("queue_unavailable", None)}
    assert found["failures"] == len(found["failedLedgers"]) > 1
    metrics()
    run_billing.handler(EVENT, Context())
    assert metrics()["BillingRuns"] == 1
    found = report(many_ledgers, RUN_ID)
    assert (found["failures"], found["failedLedgers"], found["status"]) == (0, [], "completed")
    assert items_and_amount_in(found) == items_and_amount_of(RUN_ID)


@pytest.mark.parametrize(("when", "error"), every_fault())
def test_a_run_that_failed_at_any_call_is_reported_without_counting_anything_twice(
    ready: Api, monkeypatch: pytest.MonkeyPatch, when: When, error: Callable[[], BaseException]
) -> None:
    """The report never exceeds what was charged, and retries complete it."""
    monkeypatch.setattr(runner, "IN_FLIGHT", 1)
    monkeypatch.setattr(run_invocation, "SAVE_INTERVAL_SECONDS", 0)
    monkeypatch.setattr(shards, "SHARDS", 2)
    for number in itertools.count(1):
        for name in range(2):
            ready.subscribe(f"{number}-sub-{name}")
            ready.record(f"e-{number}", 51, subscriptionId=f"{number}-sub-{name}")
        run_id = f"{number:032x}"
        event = EVENT | {"id": run_id}
        with watched() as calls:
            calls.fail(number, when, error)
            failed = fails(lambda: run_billing.handler(event, Context(seconds=0)))  # noqa: B023 - called at once
            struck = len(calls.made) >= number
        with suppress(RunNotFound):
            checked_report(run_id)
        if failed:
            run_billing.handler(event, Context(seconds=0))
        deliver_all_segments()
        found = checked_report(run_id)
        assert found.status == RunStatus.COMPLETED
        if not struck:
            break
    assert list(unsettled(check())) == []
    assert (found.items, found.amounts["USD"]) == items_and_amount_of(run_id), "in the last round nothing failed"
    assert number > 9, "the first calls list the run, the last ones save and read the report"


def fails(invocation: Callable[[], object]) -> bool:
    """Return True if the invocation failed, so that Lambda or SQS would repeat it."""
    try:
        invocation()
    except (BillingError, Killed):
        return True
    return False


def checked_report(run_id: str) -> run_reports.RunReport:
    """The report of a run. Check that it does not exceed the invoices."""
    found = run_report_store.report(run_id, clock.now())
    items, amount = items_and_amount_of(run_id)
    assert found.items <= items
    assert found.amounts.get("USD", Decimal(0)) <= amount
    return found


def test_ledgers_are_billed_even_if_the_report_cannot_be_saved(
    many_ledgers: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
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
    assert report(many_ledgers, RUN_ID)["status"] == "completed"


def test_a_run_that_could_not_be_listed_at_its_start_is_listed_at_its_end(many_ledgers: Api) -> None:
    with watched() as calls:
        calls.fail(1, "before", timed_out)
        run_billing.handler(EVENT, Context())
    [run] = many_ledgers.get("/api/billing/runs").json["runs"]
    assert (run["runId"], run["status"], run["ledgersSettled"]) == (RUN_ID, "completed", LEDGERS)


def test_progress_is_saved_during_a_run(many_ledgers: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crashed invocation loses only the progress since the last save."""
    monkeypatch.setattr(run_invocation, "SAVE_INTERVAL_SECONDS", 0)
    saved: list[tuple[int, bool]] = []
    save = run_report_store.save

    def watch(fails: Attempt) -> None:
        saved.append((fails.totals.settled, fails.ended))
        if fails.ended:
            raise Killed
        save(fails)

    monkeypatch.setattr(run_report_store, "save", watch)
    with pytest.raises(Killed):
        run_billing.handler(EVENT, Context())
    assert saved == [*((number, False) for number in range(LEDGERS + 1)), (LEDGERS, True)]
    found = report(many_ledgers, RUN_ID)
    assert (found["status"], found["ledgersSettled"]) == ("running", LEDGERS)


def test_progress_is_not_saved_after_every_ledger(many_ledgers: Api) -> None:
    with watched() as calls:
        run_billing.handler(EVENT, Context())
    # Listed, started, ended. One Query per shard, and one to read the report.
    assert calls.made.count("PutItem") == 3
    assert calls.made.count("Query") == shards.SHARDS + 1
