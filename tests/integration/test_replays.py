"""The same event again: answered as it was, whatever happened since; anything else under its id is a conflict."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.api import ADMIN, Api, bearer
from tests.integration.test_batch import event, send
from tests.integration.test_queue import ASYNC, consume, received
from tests.ledgers import check, rows
from usage_billing.usage import hot_ledgers

At = Callable[[str], None]
NOON = "2026-11-20T12:00:00Z"
README = Path(__file__).parents[2] / "README.md"


def later_events(api: Api) -> None:
    for number in range(5):
        api.record(f"later-{number}", 30)


def billing(api: Api) -> None:
    assert api.bill().json["itemsCreated"] == 1


def another_quota(api: Api) -> None:
    api.plan(limit=1, price="99.00")


def another_plan(api: Api) -> None:
    api.plan("enterprise", limit=5)
    api.subscribe(plan="enterprise")


def a_pause(api: Api) -> None:
    api.subscribe(status="paused")


def the_end(api: Api) -> None:
    api.subscribe(status="canceled")


def another_cycle(api: Api) -> None:
    api.subscribe(billingAnchorDay=15)


@pytest.mark.parametrize(
    "since", [lambda _: None, later_events, billing, another_quota, another_plan, a_pause, the_end, another_cycle],
    ids=lambda change: change.__name__.strip("<>"),
)  # fmt: skip
@pytest.mark.parametrize("dated", [False, True], ids=["undated", "dated"])
def test_a_replay_answers_what_the_first_answer_said(
    ready: Api, at: At, since: Callable[[Api], None], dated: bool
) -> None:
    at(NOON)
    more = {"occurredAt": "2026-11-20T11:00:00Z"} if dated else {}
    first = ready.record("e1", 60, metadata={"a": 1}, **more)
    since(ready)
    at("2026-11-20T12:10:00Z")
    before = rows("USAGE_TABLE"), rows("USAGE_SUMMARY_TABLE")
    replay = ready.record("e1", 60, metadata={"a": 1}, **more)
    assert (first.status, replay.status) == (201, 200)
    assert replay.json == first.json
    assert (rows("USAGE_TABLE"), rows("USAGE_SUMMARY_TABLE")) == before, "nothing was written"
    check()


@pytest.mark.parametrize(
    "now",
    [
        pytest.param("2026-12-01T00:00:00Z", id="in the next period"),
        pytest.param("2027-11-21T12:00:00.001Z", id="when it is too old to be recorded"),
        pytest.param("2036-01-01T00:00:00Z", id="years later"),
    ],
)
@pytest.mark.parametrize("dated", [False, True], ids=["undated", "dated"])
def test_a_replay_may_come_at_any_time(ready: Api, at: At, now: str, dated: bool) -> None:
    at(NOON)
    first = ready.record("e1", 60, **({"occurredAt": NOON} if dated else {}))
    at(now)
    replay = ready.record("e1", 60, **({"occurredAt": NOON} if dated else {}))
    assert (replay.status, replay.json) == (200, first.json)


def test_a_replay_need_not_say_when_it_occurred(ready: Api, at: At) -> None:
    at(NOON)
    first = ready.record("e1", occurredAt="2026-10-05T00:00:00Z")
    replay = ready.record("e1")
    assert (replay.status, replay.json) == (200, first.json)


def test_a_replay_may_say_when_it_was_first_recorded(ready: Api, at: At) -> None:
    at(NOON)
    first = ready.record("e1")
    replay = ready.record("e1", occurredAt="2026-11-20T13:00:00+01:00")
    assert (replay.status, replay.json) == (200, first.json)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"quantity": 61}, id="quantity"),
        pytest.param({"usageType": "report"}, id="usage type"),
        pytest.param({"occurredAt": "2026-11-20T11:00:00.001Z"}, id="time"),
        pytest.param({"occurredAt": "2026-10-20T11:00:00Z"}, id="time in another period"),
        pytest.param({"metadata": {"a": 2}}, id="metadata"),
        pytest.param({"metadata": {}}, id="no metadata"),
        pytest.param({"metadata": {"a": True}}, id="true is not 1"),
    ],
)
@pytest.mark.parametrize("status", ["active", "canceled"])
def test_another_event_under_the_same_id_is_a_conflict(ready: Api, at: At, change: dict[str, Any], status: str) -> None:
    at(NOON)
    event: dict[str, Any] = {"quantity": 60, "occurredAt": "2026-11-20T11:00:00Z", "metadata": {"a": 1}}
    ready.record("e1", **event)
    ready.subscribe(status=status)
    before = rows("USAGE_TABLE"), rows("USAGE_SUMMARY_TABLE")
    answer = ready.record("e1", **(event | change))
    assert (answer.status, answer.code) == (409, "event_id_conflict")
    assert [fault["field"] for fault in answer.json["errors"]] == list(change)
    assert answer.json["detail"].endswith(f"Fields that differ: {', '.join(change)}.")
    assert (rows("USAGE_TABLE"), rows("USAGE_SUMMARY_TABLE")) == before, "nothing was written"


def test_a_conflict_names_fields_and_no_values(ready: Api) -> None:
    ready.record("e1", 60, occurredAt="2026-11-20T11:00:00Z", metadata={"secret": "recorded"})
    answer = ready.record("e1", 61, occurredAt="2026-11-20T12:00:00Z", metadata={"secret": "reported"})
    assert answer.json["errors"] == [
        {"field": name, "code": "differs", "message": "differs from the recorded event"}
        for name in ("quantity", "occurredAt", "metadata")
    ]
    for value in ("60", "61", "2026-11", "secret", "recorded'", "reported"):
        assert value not in answer.json["detail"]


def test_a_conflict_in_a_batch_names_the_fields_too(ready: Api) -> None:
    ready.record("e1")
    event = {"eventId": "e1", "userId": "user-1", "subscriptionId": "sub-1", "usageType": "assessment", "quantity": 2}
    [result] = ready.post("/api/usage/batch", {"events": [event]}).json["results"]
    assert [fault["field"] for fault in result["problem"]["errors"]] == ["quantity"]


def test_another_user_under_the_same_id_is_refused_as_not_the_owner(ready: Api) -> None:
    ready.record("e1")
    answer = ready.record("e1", userId="user-2")
    assert (answer.status, answer.code) == (403, "subscription_not_owned")


def test_a_new_event_is_refused_where_a_replay_is_answered(ready: Api, at: At) -> None:
    at(NOON)
    ready.record("e1", occurredAt=NOON)
    ready.subscribe(status="canceled")
    assert ready.record("e1", occurredAt=NOON).status == 200
    assert ready.record("e2", occurredAt=NOON).code == "subscription_inactive"
    ready.subscribe(status="active")
    at("2028-01-01T00:00:00Z")
    assert ready.record("e1", occurredAt=NOON).status == 200
    assert ready.record("e2", occurredAt=NOON).code == "validation_error"


def test_a_number_written_in_another_way_is_the_same_number(ready: Api) -> None:
    body = '{"eventId":"e1","userId":"user-1","subscriptionId":"sub-1","usageType":"assessment","quantity":%s}'
    statuses = [ready.post("/api/usage/record", raw=body % text).status for text in ("2.5", "2.50", "25e-1", "0.25E+1")]
    assert statuses == [201, 200, 200, 200]


def test_an_unrated_event_is_replayed_with_the_terms_its_ledger_got_later(api: Api) -> None:
    api.subscribe()
    first = api.record("e1", 60)
    assert api.record("e1", 60).json == first.json
    api.plan()
    api.bill()
    replay = api.record("e1", 60)
    assert (replay.status, replay.json["billableQuantity"], replay.json["quota"]["limit"]) == (200, 10, 50)
    assert replay.json["recordedAt"] == first.json["recordedAt"]


# --- A job that is run again reports the same event with another `reportedAt` ----------------------

BEFORE_THE_TURN = "2026-11-30T23:59:00Z"
AFTER_THE_TURN = "2026-12-01T00:01:00Z"


def test_a_report_without_a_time_of_its_own_occurred_when_it_was_made(ready: Api, at: At) -> None:
    at(AFTER_THE_TURN)
    answer = ready.record("e1", reportedAt="2026-12-01T00:59:00+01:00")
    assert (answer.status, answer.json["occurredAt"], answer.json["recordedAt"]) == (
        201, BEFORE_THE_TURN, AFTER_THE_TURN,
    )  # fmt: skip
    assert answer.json["quota"]["periodStart"] == "2026-11-01T00:00:00Z"


def test_the_time_of_the_work_counts_before_the_time_of_the_report(ready: Api, at: At) -> None:
    at(AFTER_THE_TURN)
    answer = ready.record("e1", occurredAt="2026-10-05T00:00:00Z", reportedAt="1999-01-01T00:00:00Z")
    assert (answer.status, answer.json["occurredAt"]) == (201, "2026-10-05T00:00:00Z")


@pytest.mark.parametrize("now", [AFTER_THE_TURN, "2028-01-01T00:00:00Z"], ids=["after the turn", "years later"])
def test_a_report_repeated_later_is_a_replay(ready: Api, at: At, now: str) -> None:
    at(BEFORE_THE_TURN)
    first = ready.record("e1", 60, reportedAt=BEFORE_THE_TURN)
    at(now)
    before = rows("USAGE_TABLE"), rows("USAGE_SUMMARY_TABLE")
    for again in ({"reportedAt": now}, {"reportedAt": BEFORE_THE_TURN}, {}, {"occurredAt": BEFORE_THE_TURN}):
        replay = ready.record("e1", 60, **again)
        assert (replay.status, replay.json) == (200, first.json), again
    assert (rows("USAGE_TABLE"), rows("USAGE_SUMMARY_TABLE")) == before, "nothing was written"


def test_a_report_repeated_by_a_clock_that_runs_fast_is_a_replay(ready: Api, at: At) -> None:
    at(BEFORE_THE_TURN)
    first = ready.record("e1", reportedAt=BEFORE_THE_TURN)
    replay = ready.record("e1", reportedAt="2026-12-24T00:00:00Z")
    assert (replay.status, replay.json) == (200, first.json)


def test_another_time_of_the_work_is_a_conflict_however_it_was_reported(ready: Api, at: At) -> None:
    at(BEFORE_THE_TURN)
    ready.record("e1", reportedAt=BEFORE_THE_TURN)
    assert ready.record("e1", occurredAt="2026-11-30T23:58:59Z", reportedAt=BEFORE_THE_TURN).status == 409
    assert ready.record("e1", 2, reportedAt=BEFORE_THE_TURN).status == 409


@pytest.mark.parametrize(
    ("reported_at", "status"),
    [
        pytest.param("2025-11-29T23:59:00Z", 201, id="366 days ago"),
        pytest.param("2025-11-29T23:58:59.999Z", 422, id="a millisecond longer ago"),
        pytest.param("1970-01-01T00:00:17Z", 422, id="by a clock that was never set"),
        pytest.param("2026-12-01T00:14:00.001Z", 201, id="further ahead than an event may be"),
        pytest.param("2106-02-07T06:28:15Z", 201, id="by a clock in another century"),
    ],
)
@pytest.mark.parametrize("headers", [None, ASYNC], ids=["recorded", "queued"])
def test_a_report_may_be_as_old_as_an_event_and_its_clock_as_fast_as_it_likes(
    ready: Api, at: At, reported_at: str, status: int, headers: dict[str, str] | None
) -> None:
    at(BEFORE_THE_TURN)
    answer = ready.record(reportedAt=reported_at, headers=headers)
    assert answer.status == (202 if headers and status == 201 else status)
    if status == 422:
        [fault] = answer.json["errors"]
        assert (fault["field"], fault["code"]) == ("reportedAt", "out_of_range")


@pytest.mark.parametrize("headers", [None, ASYNC], ids=["recorded", "queued"])
def test_a_report_was_made_when_it_arrived_at_the_latest(ready: Api, at: At, headers: dict[str, str] | None) -> None:
    """A clock that runs fast opens no ledger of the next period."""
    at(BEFORE_THE_TURN)
    assert ready.record("e1", reportedAt=AFTER_THE_TURN, headers=headers).status == (202 if headers else 201)
    at("2026-12-02T00:00:00Z")
    assert consume(received()) == []
    replay = ready.record("e1", reportedAt=AFTER_THE_TURN)
    assert (replay.status, replay.json["occurredAt"]) == (200, BEFORE_THE_TURN)
    [ledger] = check()
    assert ledger.head["ledger"] == "2026-11-01T00:00:00Z#assessment"


def test_a_batch_repeated_after_the_turn_is_replayed_whole(ready: Api, at: At) -> None:
    at(BEFORE_THE_TURN)
    first = send(ready, *(event(f"e{number}", reportedAt=BEFORE_THE_TURN) for number in range(3)))
    at(AFTER_THE_TURN)
    again = send(ready, *(event(f"e{number}", reportedAt=AFTER_THE_TURN) for number in range(3)))
    assert again.json["totals"] == {"recorded": 0, "replayed": 3, "queued": 0, "rejected": 0}
    assert [r["record"] for r in again.json["results"]] == [r["record"] for r in first.json["results"]]


@pytest.mark.parametrize("known", [False, True], ids=["new", "recorded before"])
def test_copies_in_one_batch_from_both_sides_of_the_turn_count_once(ready: Api, at: At, known: bool) -> None:
    at(BEFORE_THE_TURN)
    if known:
        ready.record("e1", reportedAt=BEFORE_THE_TURN)
    at(AFTER_THE_TURN)
    copies = [event("e1", reportedAt=when) for when in (BEFORE_THE_TURN, AFTER_THE_TURN, BEFORE_THE_TURN)]
    answer = send(ready, *copies)
    first = "replayed" if known else "recorded"
    assert [each["status"] for each in answer.json["results"]] == [first, "replayed", "replayed"]
    [ledger] = check()
    assert (ledger.head["ledger"], ledger.head["used"]) == ("2026-11-01T00:00:00Z#assessment", 1)


def test_a_report_that_waits_in_the_queue_keeps_its_time(ready: Api, at: At) -> None:
    """It was made before the turn, taken after it, and recorded later still; then the job is run again."""
    at(AFTER_THE_TURN)
    assert ready.record("e1", reportedAt=BEFORE_THE_TURN, headers=ASYNC).status == 202
    at("2026-12-02T00:00:00Z")
    assert consume(received()) == []
    replay = ready.record("e1", reportedAt="2026-12-02T00:00:00Z")
    assert (replay.status, replay.json["occurredAt"]) == (200, BEFORE_THE_TURN)
    [ledger] = check()
    assert ledger.head["ledger"].startswith("2026-11-01")


@pytest.mark.parametrize("spills", [False, True], ids=["by preference", "by a hot ledger"])
def test_a_report_repeated_through_the_queue_is_a_replay(
    ready: Api, at: At, monkeypatch: pytest.MonkeyPatch, spills: bool
) -> None:
    at(BEFORE_THE_TURN)
    first = ready.record("e1", 60, reportedAt=BEFORE_THE_TURN)
    at(AFTER_THE_TURN)
    with monkeypatch.context() as crowded:
        crowded.setattr(hot_ledgers, "is_hot", lambda _: spills)
        assert ready.record("e1", 60, reportedAt=AFTER_THE_TURN, headers=None if spills else ASYNC).status == 202
    assert consume(received()) == []
    assert rows("DEAD_EVENT_TABLE") == []
    assert ready.record("e1", 60, reportedAt=AFTER_THE_TURN).json == first.json
    assert len(check()) == 1


def test_reports_of_one_event_that_die_are_one_dead_event_of_the_first_time(ready: Api, at: At) -> None:
    for when in (BEFORE_THE_TURN, AFTER_THE_TURN):
        at(when)
        assert ready.record("e1", subscriptionId="late", reportedAt=when, headers=ASYNC).status == 202
        assert consume(received()) == []
    administrator = bearer(*ADMIN)
    [dead] = ready.get("/api/usage/dead-events", headers=administrator).json["deadEvents"]
    assert dead["event"]["reportedAt"] == BEFORE_THE_TURN
    ready.subscribe("late")
    choice = {"subscriptionId": "late", "eventId": "e1"}
    assert ready.post("/api/usage/dead-events/redrive", choice, headers=administrator).json["redriven"] == 1
    assert consume(received()) == []
    [ledger] = check()
    assert ledger.entries[0]["occurred_at"] == BEFORE_THE_TURN


def test_the_call_of_the_readme_may_be_pasted_twice(ready: Api) -> None:
    """As it stands there, for the subscription of `ready`."""
    [body] = re.findall(r"-d '(\{\s*\"eventId\".*?\})'\n", README.read_text(), re.DOTALL)
    ready.plan(usage_type="report")
    assert "occurredAt" not in json.loads(body)
    assert [ready.post("/api/usage/record", raw=body).status for _ in range(2)] == [201, 200]
