"""Replays: the same event gets the same response, and a different event with the same id is a conflict."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.api import ADMIN, Api, bearer
from tests.batches import send_batch
from tests.builders import event_body
from tests.clocks import At
from tests.ledgers import check, rows
from tests.queue import ASYNC, consume, take_messages
from usage_billing.usage import hot_ledgers

NOON = "2026-11-20T12:00:00Z"
README = Path(__file__).parents[2] / "README.md"


def nothing_changed(_: Api) -> None:
    pass


def more_events(api: Api) -> None:
    for number in range(5):
        api.record(f"later-{number}", 30)


def billed(api: Api) -> None:
    assert api.bill().json["itemsCreated"] == 1


def quota_changed(api: Api) -> None:
    api.plan(limit=1, price="99.00")


def plan_changed(api: Api) -> None:
    api.plan("enterprise", limit=5)
    api.subscribe(plan="enterprise")


def subscription_paused(api: Api) -> None:
    api.subscribe(status="paused")


def subscription_canceled(api: Api) -> None:
    api.subscribe(status="canceled")


def anchor_day_changed(api: Api) -> None:
    api.subscribe(billingAnchorDay=15)


@pytest.mark.parametrize(
    "change",
    [
        nothing_changed,
        more_events,
        billed,
        quota_changed,
        plan_changed,
        subscription_paused,
        subscription_canceled,
        anchor_day_changed,
    ],
    ids=lambda change: change.__name__,
)
@pytest.mark.parametrize("dated", [False, True], ids=["undated", "dated"])
def test_a_replay_gets_the_first_response_whatever_changed_since(
    ready: Api, at: At, change: Callable[[Api], None], dated: bool
) -> None:
    at(NOON)
    more = {"occurredAt": "2026-11-20T11:00:00Z"} if dated else {}
    first = ready.record("e1", 60, metadata={"a": 1}, **more)
    change(ready)
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
        pytest.param("2027-11-21T12:00:00.001Z", id="when a new event would be too old"),
        pytest.param("2036-01-01T00:00:00Z", id="years later"),
    ],
)
@pytest.mark.parametrize("dated", [False, True], ids=["undated", "dated"])
def test_a_replay_is_accepted_at_any_time(ready: Api, at: At, now: str, dated: bool) -> None:
    at(NOON)
    first = ready.record("e1", 60, **({"occurredAt": NOON} if dated else {}))
    at(now)
    replay = ready.record("e1", 60, **({"occurredAt": NOON} if dated else {}))
    assert (replay.status, replay.json) == (200, first.json)


def test_a_replay_may_leave_out_occurred_at(ready: Api, at: At) -> None:
    at(NOON)
    first = ready.record("e1", occurredAt="2026-10-05T00:00:00Z")
    replay = ready.record("e1")
    assert (replay.status, replay.json) == (200, first.json)


def test_a_replay_may_state_the_time_of_the_first_recording(ready: Api, at: At) -> None:
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
def test_a_different_event_with_the_same_id_is_a_conflict(
    ready: Api, at: At, change: dict[str, Any], status: str
) -> None:
    at(NOON)
    event: dict[str, Any] = {"quantity": 60, "occurredAt": "2026-11-20T11:00:00Z", "metadata": {"a": 1}}
    ready.record("e1", **event)
    ready.subscribe(status=status)
    before = rows("USAGE_TABLE"), rows("USAGE_SUMMARY_TABLE")
    answer = ready.record("e1", **(event | change))
    assert (answer.status, answer.code) == (409, "event_id_conflict")
    assert [error["field"] for error in answer.json["errors"]] == list(change)
    assert answer.json["detail"].endswith(f"Fields that differ: {', '.join(change)}.")
    assert (rows("USAGE_TABLE"), rows("USAGE_SUMMARY_TABLE")) == before, "nothing was written"


def test_a_conflict_names_fields_but_not_values(ready: Api) -> None:
    ready.record("e1", 60, occurredAt="2026-11-20T11:00:00Z", metadata={"secret": "recorded"})
    answer = ready.record("e1", 61, occurredAt="2026-11-20T12:00:00Z", metadata={"secret": "reported"})
    assert answer.json["errors"] == [
        {"field": name, "code": "differs", "message": "differs from the recorded event"}
        for name in ("quantity", "occurredAt", "metadata")
    ]
    for value in ("60", "61", "2026-11", "secret", "recorded'", "reported"):
        assert value not in answer.json["detail"]


def test_a_conflict_in_a_batch_also_names_the_fields(ready: Api) -> None:
    ready.record("e1")
    [result] = send_batch(ready, event_body("e1", 2)).json["results"]
    assert [error["field"] for error in result["problem"]["errors"]] == ["quantity"]


def test_the_same_id_with_another_user_is_403(ready: Api) -> None:
    ready.record("e1")
    answer = ready.record("e1", userId="user-2")
    assert (answer.status, answer.code) == (403, "subscription_not_owned")


def test_a_replay_is_accepted_where_a_new_event_is_rejected(ready: Api, at: At) -> None:
    at(NOON)
    ready.record("e1", occurredAt=NOON)
    ready.subscribe(status="canceled")
    assert ready.record("e1", occurredAt=NOON).status == 200
    assert ready.record("e2", occurredAt=NOON).code == "subscription_inactive"
    ready.subscribe(status="active")
    at("2028-01-01T00:00:00Z")
    assert ready.record("e1", occurredAt=NOON).status == 200
    assert ready.record("e2", occurredAt=NOON).code == "validation_error"


def test_a_quantity_written_differently_is_the_same_quantity(ready: Api) -> None:
    body = '{"eventId":"e1","userId":"user-1","subscriptionId":"sub-1","usageType":"assessment","quantity":%s}'
    statuses = [ready.post("/api/usage/record", raw=body % text).status for text in ("2.5", "2.50", "25e-1", "0.25E+1")]
    assert statuses == [201, 200, 200, 200]


def test_a_replay_of_an_unrated_event_shows_the_terms_that_its_ledger_got_later(api: Api) -> None:
    api.subscribe()
    first = api.record("e1", 60)
    assert api.record("e1", 60).json == first.json
    api.plan()
    api.bill()
    replay = api.record("e1", 60)
    assert (replay.status, replay.json["billableQuantity"], replay.json["quota"]["limit"]) == (200, 10, 50)
    assert replay.json["recordedAt"] == first.json["recordedAt"]


# --- A job that runs again sends the same event with another `reportedAt` ---

END_OF_NOVEMBER = "2026-11-30T23:59:00Z"
START_OF_DECEMBER = "2026-12-01T00:01:00Z"


def test_an_event_without_occurred_at_occurred_at_reported_at(ready: Api, at: At) -> None:
    at(START_OF_DECEMBER)
    answer = ready.record("e1", reportedAt="2026-12-01T00:59:00+01:00")
    assert (answer.status, answer.json["occurredAt"], answer.json["recordedAt"]) == (
        201, END_OF_NOVEMBER, START_OF_DECEMBER,
    )  # fmt: skip
    assert answer.json["quota"]["periodStart"] == "2026-11-01T00:00:00Z"


def test_occurred_at_takes_precedence_over_reported_at(ready: Api, at: At) -> None:
    at(START_OF_DECEMBER)
    answer = ready.record("e1", occurredAt="2026-10-05T00:00:00Z", reportedAt="1999-01-01T00:00:00Z")
    assert (answer.status, answer.json["occurredAt"]) == (201, "2026-10-05T00:00:00Z")


@pytest.mark.parametrize("now", [START_OF_DECEMBER, "2028-01-01T00:00:00Z"], ids=["in the next period", "years later"])
def test_the_same_event_with_a_later_reported_at_is_a_replay(ready: Api, at: At, now: str) -> None:
    at(END_OF_NOVEMBER)
    first = ready.record("e1", 60, reportedAt=END_OF_NOVEMBER)
    at(now)
    before = rows("USAGE_TABLE"), rows("USAGE_SUMMARY_TABLE")
    for again in ({"reportedAt": now}, {"reportedAt": END_OF_NOVEMBER}, {}, {"occurredAt": END_OF_NOVEMBER}):
        replay = ready.record("e1", 60, **again)
        assert (replay.status, replay.json) == (200, first.json), again
    assert (rows("USAGE_TABLE"), rows("USAGE_SUMMARY_TABLE")) == before, "nothing was written"


def test_the_same_event_with_a_reported_at_in_the_future_is_a_replay(ready: Api, at: At) -> None:
    at(END_OF_NOVEMBER)
    first = ready.record("e1", reportedAt=END_OF_NOVEMBER)
    replay = ready.record("e1", reportedAt="2026-12-24T00:00:00Z")
    assert (replay.status, replay.json) == (200, first.json)


def test_another_occurred_at_is_a_conflict_even_with_the_same_reported_at(ready: Api, at: At) -> None:
    at(END_OF_NOVEMBER)
    ready.record("e1", reportedAt=END_OF_NOVEMBER)
    assert ready.record("e1", occurredAt="2026-11-30T23:58:59Z", reportedAt=END_OF_NOVEMBER).status == 409
    assert ready.record("e1", 2, reportedAt=END_OF_NOVEMBER).status == 409


@pytest.mark.parametrize(
    ("reported_at", "status"),
    [
        pytest.param("2025-11-29T23:59:00Z", 201, id="366 days ago"),
        pytest.param("2025-11-29T23:58:59.999Z", 422, id="one millisecond too old"),
        pytest.param("1970-01-01T00:00:17Z", 422, id="a clock that was never set"),
        pytest.param("2026-12-01T00:14:00.001Z", 201, id="further ahead than occurredAt may be"),
        pytest.param("2106-02-07T06:28:15Z", 201, id="a clock in another century"),
    ],
)
@pytest.mark.parametrize("headers", [None, ASYNC], ids=["recorded", "queued"])
def test_reported_at_may_be_in_the_future_but_not_too_old(
    ready: Api, at: At, reported_at: str, status: int, headers: dict[str, str] | None
) -> None:
    at(END_OF_NOVEMBER)
    answer = ready.record(reportedAt=reported_at, headers=headers)
    assert answer.status == (202 if headers and status == 201 else status)
    if status == 422:
        [error] = answer.json["errors"]
        assert (error["field"], error["code"]) == ("reportedAt", "out_of_range")


@pytest.mark.parametrize("headers", [None, ASYNC], ids=["recorded", "queued"])
def test_a_reported_at_in_the_future_counts_as_the_time_of_arrival(
    ready: Api, at: At, headers: dict[str, str] | None
) -> None:
    """A fast clock does not open a ledger in the next period."""
    at(END_OF_NOVEMBER)
    assert ready.record("e1", reportedAt=START_OF_DECEMBER, headers=headers).status == (202 if headers else 201)
    at("2026-12-02T00:00:00Z")
    assert consume(take_messages()) == []
    replay = ready.record("e1", reportedAt=START_OF_DECEMBER)
    assert (replay.status, replay.json["occurredAt"]) == (200, END_OF_NOVEMBER)
    [ledger] = check()
    assert ledger.head["ledger"] == "2026-11-01T00:00:00Z#assessment"


def test_a_batch_repeated_in_the_next_period_is_replayed_completely(ready: Api, at: At) -> None:
    at(END_OF_NOVEMBER)
    first = send_batch(ready, *(event_body(f"e{number}", reportedAt=END_OF_NOVEMBER) for number in range(3)))
    at(START_OF_DECEMBER)
    again = send_batch(ready, *(event_body(f"e{number}", reportedAt=START_OF_DECEMBER) for number in range(3)))
    assert again.json["totals"] == {"recorded": 0, "replayed": 3, "queued": 0, "rejected": 0}
    assert [r["record"] for r in again.json["results"]] == [r["record"] for r in first.json["results"]]


@pytest.mark.parametrize("known", [False, True], ids=["new", "already recorded"])
def test_copies_in_one_batch_reported_in_two_periods_count_once(ready: Api, at: At, known: bool) -> None:
    at(END_OF_NOVEMBER)
    if known:
        ready.record("e1", reportedAt=END_OF_NOVEMBER)
    at(START_OF_DECEMBER)
    copies = [event_body("e1", reportedAt=when) for when in (END_OF_NOVEMBER, START_OF_DECEMBER, END_OF_NOVEMBER)]
    answer = send_batch(ready, *copies)
    first = "replayed" if known else "recorded"
    assert [each["status"] for each in answer.json["results"]] == [first, "replayed", "replayed"]
    [ledger] = check()
    assert (ledger.head["ledger"], ledger.head["used"]) == ("2026-11-01T00:00:00Z#assessment", 1)


def test_a_queued_event_keeps_its_reported_at(ready: Api, at: At) -> None:
    """It is reported in November, accepted in December and recorded later. Then the job runs again."""
    at(START_OF_DECEMBER)
    assert ready.record("e1", reportedAt=END_OF_NOVEMBER, headers=ASYNC).status == 202
    at("2026-12-02T00:00:00Z")
    assert consume(take_messages()) == []
    replay = ready.record("e1", reportedAt="2026-12-02T00:00:00Z")
    assert (replay.status, replay.json["occurredAt"]) == (200, END_OF_NOVEMBER)
    [ledger] = check()
    assert ledger.head["ledger"].startswith("2026-11-01")


@pytest.mark.parametrize("spills", [False, True], ids=["at the request of the caller", "because the ledger is hot"])
def test_an_event_repeated_through_the_queue_is_a_replay(
    ready: Api, at: At, monkeypatch: pytest.MonkeyPatch, spills: bool
) -> None:
    at(END_OF_NOVEMBER)
    first = ready.record("e1", 60, reportedAt=END_OF_NOVEMBER)
    at(START_OF_DECEMBER)
    with monkeypatch.context() as crowded:
        crowded.setattr(hot_ledgers, "is_hot", lambda _: spills)
        assert ready.record("e1", 60, reportedAt=START_OF_DECEMBER, headers=None if spills else ASYNC).status == 202
    assert consume(take_messages()) == []
    assert rows("DEAD_EVENT_TABLE") == []
    assert ready.record("e1", 60, reportedAt=START_OF_DECEMBER).json == first.json
    assert len(check()) == 1


def test_copies_of_a_dead_event_are_one_dead_event_with_the_first_time(ready: Api, at: At) -> None:
    for when in (END_OF_NOVEMBER, START_OF_DECEMBER):
        at(when)
        assert ready.record("e1", subscriptionId="late", reportedAt=when, headers=ASYNC).status == 202
        assert consume(take_messages()) == []
    administrator = bearer(*ADMIN)
    [dead] = ready.get("/api/usage/dead-events", headers=administrator).json["deadEvents"]
    assert dead["event"]["reportedAt"] == END_OF_NOVEMBER
    ready.subscribe("late")
    choice = {"subscriptionId": "late", "eventId": "e1"}
    assert ready.post("/api/usage/dead-events/redrive", choice, headers=administrator).json["redriven"] == 1
    assert consume(take_messages()) == []
    [ledger] = check()
    assert ledger.entries[0]["occurred_at"] == END_OF_NOVEMBER


def test_the_example_of_the_readme_can_be_sent_twice(ready: Api) -> None:
    """The body is sent exactly as the README shows it."""
    [body] = re.findall(r"-d '(\{\s*\"eventId\".*?\})'\n", README.read_text(), re.DOTALL)
    ready.plan(usage_type="report")
    assert "occurredAt" not in json.loads(body)
    assert [ready.post("/api/usage/record", raw=body).status for _ in range(2)] == [201, 200]
