"""Redriving and dropping dead events."""

import io
import json
from typing import Any

import pytest

from tests import ledgers
from tests.api import Api
from tests.builders import event_body
from tests.clocks import At
from tests.dead_events import ADMINISTRATOR, DEAD_EVENTS, dead_letter, list_dead_events, move, orphan_body
from tests.faults import timed_out, watched
from tests.metrics import Metrics
from tests.queue import consume, dead, queue_message, take_messages
from usage_billing.kernel import cursors
from usage_billing.usage.dead_events import redriving
from usage_billing.usage.dead_events import store as dead_event_store
from usage_billing.usage.dead_events.model import Position, Selection

# --- Redriving ---


def test_a_redriven_event_is_recorded_in_its_original_period(ready: Api, at: At) -> None:
    at("2026-10-20T12:00:00Z")
    dead_letter(orphan_body("a", 3))
    at("2026-11-20T12:00:00Z")
    ready.subscribe("late")
    assert move(ready, "redrive", subscriptionId="late", eventId="a").json == {"redriven": 1, "kept": 0}
    assert list_dead_events(ready) == []
    assert consume(take_messages()) == []
    [ledger] = ledgers.check()
    assert (ledger.head["used"], ledger.entries[0]["occurred_at"]) == (3, "2026-10-20T12:00:00Z")
    assert dead() == []


def test_a_redriven_event_that_dies_again_is_listed_and_counted_again(ready: Api, metrics: Metrics) -> None:
    dead_letter(orphan_body("a"))
    move(ready, "redrive", code="subscription_not_found")
    assert list_dead_events(ready) == []
    metrics()
    assert consume(take_messages()) == []
    assert metrics()["EventsDead"] == 1
    assert [each["eventId"] for each in list_dead_events(ready)] == ["a"]


def test_an_event_that_dies_again_before_its_row_is_deleted_is_kept(ready: Api) -> None:
    """The consumer may be faster than the caller who redrives."""
    dead_letter(orphan_body("a"))
    with watched() as calls:
        calls.at(3, "after", lambda _: consume(take_messages()))
        assert move(ready, "redrive", code="subscription_not_found").json == {"redriven": 0, "kept": 1}
    assert calls.made[:3] == ["Query", "GetItem", "SendMessageBatch"]
    assert [each["attempts"] for each in list_dead_events(ready)] == [2]


def test_when_two_callers_redrive_the_same_event_nothing_is_lost(ready: Api) -> None:
    """The slower caller must not delete the event that died again in the meantime."""
    dead_letter(orphan_body("a"))
    [slow] = dead_event_store.page(Selection("subscription_not_found"), 1, Position())[0]
    assert move(ready, "redrive", code="subscription_not_found").json["redriven"] == 1
    assert consume(take_messages()) == []
    assert redriving.redrive([slow]) == redriving.Removal(0, 1)
    assert len(dead()) == 1


@pytest.mark.parametrize("choice", [{"code": "subscription_not_found"}, {"eventId": "a"}], ids=["code", "event id"])
def test_a_dropped_event_that_the_index_still_lists_is_not_redriven(
    ready: Api, monkeypatch: pytest.MonkeyPatch, choice: dict[str, str]
) -> None:
    """The index lags behind the table. A dropped event must never be billed."""
    dead_letter(orphan_body("a"), orphan_body("b"))
    stale = dead_event_store.page(Selection("subscription_not_found", event_id=choice.get("eventId")), 100, Position())
    move(ready, "drop", subscriptionId="late", eventId="a")
    monkeypatch.setattr(dead_event_store, "page", lambda *_: stale)
    left = 1 if "code" in choice else 0
    for verb, done in (("redrive", "redriven"), ("drop", "dropped")):
        assert move(ready, verb, **choice).json == {done: left, "kept": 0}
        left = 0
    assert [json.loads(each["Body"])["events"][0]["eventId"] for each in take_messages()] == ["b"] * ("code" in choice)


def test_an_event_that_no_longer_matches_the_selection_is_kept(
    ready: Api, at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One event died again for another reason. The other was dropped, and died again after the first call."""
    at("2026-11-20T12:00:00Z")
    dead_letter(orphan_body("changed"), orphan_body("anew"))
    stale = dead_event_store.page(Selection("subscription_not_found"), 100, Position())
    at("2026-11-20T13:00:00Z")
    move(ready, "drop", subscriptionId="late", eventId="anew")
    at("2026-11-20T14:00:00Z")
    dead_letter(orphan_body("anew"))
    ready.subscribe("late", user="user-2")
    assert consume([queue_message("again", orphan_body("changed"))]) == []
    at("2026-11-20T13:30:00Z")
    monkeypatch.setattr(dead_event_store, "page", lambda *_: stale)
    assert move(ready, "redrive", code="subscription_not_found").json == {"redriven": 0, "kept": 0}
    assert (len(dead()), take_messages()) == (2, [])


def test_each_call_continues_at_the_cursor_until_the_end(ready: Api, at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even though every event dies again at once, so that the list never becomes shorter."""
    monkeypatch.setattr(redriving, "MAX_PER_CALL", 3)
    at("2026-11-20T12:00:00Z")
    dead_letter(*(orphan_body(f"e{number}") for number in range(10)))
    choice: dict[str, Any] = {"code": "subscription_not_found"}
    redriven, calls_made = 0, 0
    while True:
        calls_made += 1
        at(f"2026-11-20T13:00:{calls_made:02}Z")
        answer = move(ready, "redrive", **choice).json
        redriven += answer["redriven"]
        at(f"2026-11-20T14:00:{calls_made:02}Z")
        assert consume(take_messages()) == []
        if "nextCursor" not in answer:
            break
        choice["cursor"] = answer["nextCursor"]
    assert (redriven, calls_made) == (10, 4)
    assert len(dead()) == 10


def test_an_event_that_cannot_be_enqueued_is_kept(ready: Api) -> None:
    dead_letter(orphan_body("a"))
    with watched() as calls:
        calls.fail_where(lambda parameters: "Entries" in parameters, timed_out)
        assert move(ready, "redrive", code="subscription_not_found").json == {"redriven": 0, "kept": 1}
    assert len(list_dead_events(ready)) == 1


def test_an_event_whose_row_cannot_be_deleted_is_kept_and_recorded_once(ready: Api) -> None:
    dead_letter(orphan_body("a"))
    ready.subscribe("late")
    with watched() as calls:
        calls.fail_where(lambda parameters: "ConditionExpression" in parameters, timed_out)
        assert move(ready, "redrive", code="subscription_not_found").json == {"redriven": 0, "kept": 1}
    assert move(ready, "redrive", code="subscription_not_found").json == {"redriven": 1, "kept": 0}
    assert consume(take_messages()) == []
    [ledger] = ledgers.check()
    assert (ledger.head["used"], dead()) == (1, [])


def test_without_time_nothing_is_redriven_or_dropped(ready: Api) -> None:
    dead_letter(orphan_body("a"))
    for verb, done in (("redrive", "redriven"), ("drop", "dropped")):
        answer = ready.post(
            f"{DEAD_EVENTS}/{verb}", {"code": "subscription_not_found"}, headers=ADMINISTRATOR, seconds=5
        )
        assert answer.json == {done: 0, "kept": 1}
    assert (len(dead()), take_messages()) == (1, [])


def test_redriven_events_share_messages(ready: Api) -> None:
    dead_letter(*(orphan_body(f"e{number}") for number in range(60)))
    assert move(ready, "redrive", code="subscription_not_found").json["redriven"] == 60
    [sent] = take_messages()
    assert len(json.loads(sent["Body"])["events"]) == 60


# --- Dropping ---


def test_one_of_several_dead_events_with_the_same_event_id_can_be_dropped(
    ready: Api, caplog: pytest.LogCaptureFixture
) -> None:
    dead_letter(orphan_body("a"), orphan_body("a", quantity=2), orphan_body("b"))
    [doomed] = [each["id"] for each in list_dead_events(ready, eventId="a") if each["event"]["quantity"] == 2]
    assert move(ready, "drop", ids=[doomed, doomed, "no id of anything"]).json == {"dropped": 1, "kept": 0}
    assert [(each["eventId"], each["event"]["quantity"]) for each in list_dead_events(ready)] == [("a", 1), ("b", 1)]
    assert take_messages() == []
    [line] = [record for record in caplog.records if record.message == "dead event dropped"]
    fields = line.__dict__
    assert (fields["event_id"], fields["subscription_id"], fields["dead_event"]) == ("a", "late", doomed)


@pytest.mark.parametrize(("verb", "done"), [("redrive", "redriven"), ("drop", "dropped")])
def test_a_customers_event_is_selected_by_its_prefixed_id(ready: Api, verb: str, done: str) -> None:
    name = f"customer:{'x' * 128}"
    dead_letter(orphan_body(name), orphan_body("a"))
    assert move(ready, verb, eventId=name).json == {done: 1, "kept": 0}
    assert [each["eventId"] for each in list_dead_events(ready)] == ["a"]


@pytest.mark.parametrize("parts", [("", ""), ("late", ""), ("", "a")])
def test_an_id_with_an_empty_part_matches_nothing(ready: Api, parts: tuple[str, str]) -> None:
    dead_letter(orphan_body("a"))
    for verb, done in (("redrive", "redriven"), ("drop", "dropped")):
        answer = move(ready, verb, ids=[cursors.encode(*parts)])
        assert (answer.status, answer.json) == (200, {done: 0, "kept": 0})
    assert len(dead()) == 1


def test_the_log_says_who_dropped_what(ready: Api, log_output: io.StringIO) -> None:
    dead_letter(orphan_body("a"))
    move(ready, "drop", code="subscription_not_found")
    [line] = [json.loads(line) for line in log_output.getvalue().splitlines() if "dead event dropped" in line]
    assert (line["caller"], line["event_id"], line["subscription_id"]) == ("admin-1", "a", "late")


def test_a_hundred_ids_of_maximum_length_fit_into_one_request(ready: Api) -> None:
    long = {"subscriptionId": "s" * 128}
    tail = "\\" * 125
    dead_letter(*(event_body(f"{number:03}{tail}", **long) for number in range(100)))
    ids = [each["id"] for each in list_dead_events(ready)]
    assert 500 < max(map(len, ids)) < 1024
    assert move(ready, "drop", ids=ids).json == {"dropped": 100, "kept": 0}


def test_ids_and_code_must_both_match(ready: Api) -> None:
    dead_letter(orphan_body("a"))
    [found] = list_dead_events(ready)
    assert move(ready, "drop", ids=[found["id"]], code="event_id_conflict").json == {"dropped": 0, "kept": 0}
    assert move(ready, "drop", ids=[found["id"]], code="subscription_not_found").json == {"dropped": 1, "kept": 0}


@pytest.mark.parametrize("verb", ["redrive", "drop"])
@pytest.mark.parametrize("body", [{}, {"cursor": "x"}, {"ids": []}, {"ids": ["x"] * 101}, {"code": "NO"}])
def test_a_selection_without_criteria_is_422(ready: Api, verb: str, body: dict[str, Any]) -> None:
    dead_letter(orphan_body("a"))
    assert move(ready, verb, **body).status == 422
    assert len(dead()) == 1
