"""Dead-lettering: accepted events that cannot be recorded are stored with the reason and listed for administrators."""

import io
import json
from collections.abc import Callable

import pytest

from tests import ledgers
from tests.api import Api
from tests.builders import event_body
from tests.clocks import At
from tests.dead_events import dead_letter, list_dead_events, move, orphan_body
from tests.faults import Killed, timed_out, watched
from tests.metrics import Metrics
from tests.queue import consume, dead, queue_message, queue_messages, take_messages
from usage_billing.platform import clock
from usage_billing.usage import redelivery
from usage_billing.usage.dead_events import dead_lettering
from usage_billing.usage.dead_events.model import DeadLetter

# --- From the usage queue ---


def test_a_dead_event_is_listed_with_its_reason_and_content(ready: Api, at: At) -> None:
    at("2026-11-20T12:00:00Z")
    dead_letter(orphan_body("a", metadata={"n": 1.50}, occurredAt="2026-11-19T00:00:00Z"))
    [found] = list_dead_events(ready)
    assert found.pop("id")
    assert found == {
        "code": "subscription_not_found",
        "detail": "There is no subscription late.",
        "deadAt": "2026-11-20T12:00:00Z",
        "lastDeadAt": "2026-11-20T12:00:00Z",
        "attempts": 1,
        "subscriptionId": "late",
        "eventId": "a",
        "userId": "user-1",
        "event": {
            "eventId": "a",
            "userId": "user-1",
            "subscriptionId": "late",
            "usageType": "assessment",
            "quantity": 1,
            "occurredAt": "2026-11-19T00:00:00Z",
            "metadata": {"n": 1.5},
            "acceptedAt": "2026-11-20T12:00:00Z",
        },
        "body": None,
    }


def test_an_event_that_dies_again_keeps_its_first_time_and_counts_once(ready: Api, at: At, metrics: Metrics) -> None:
    at("2026-11-20T12:00:00Z")
    dead_letter(orphan_body("a"))
    metrics()
    at("2026-11-20T13:00:00Z")
    assert consume([queue_message("another message", orphan_body("a"))]) == []
    assert "EventsDead" not in metrics()
    [found] = list_dead_events(ready)
    assert (found["deadAt"], found["lastDeadAt"], found["attempts"]) == (
        "2026-11-20T12:00:00Z",
        "2026-11-20T13:00:00Z",
        2,
    )
    assert found["event"]["acceptedAt"] == "2026-11-20T12:00:00Z"


def test_one_id_with_different_contents_is_several_dead_events(ready: Api, metrics: Metrics) -> None:
    metrics()
    dead_letter(
        orphan_body("a"),
        orphan_body("a", quantity=2),
        orphan_body("a", metadata={"x": 1}),
        orphan_body("a", quantity=2),
    )
    assert metrics()["EventsDead"] == 3
    assert len(list_dead_events(ready, subscriptionId="late", eventId="a")) == 3


def test_when_the_reason_changes_the_event_is_listed_under_the_new_code(ready: Api) -> None:
    dead_letter(orphan_body("a"))
    ready.subscribe("late", user="user-2")
    assert consume([queue_message("another message", orphan_body("a"))]) == []
    assert [each["code"] for each in list_dead_events(ready)] == ["subscription_not_owned"]
    assert list_dead_events(ready, code="subscription_not_found") == []


def test_the_detail_of_a_conflict_names_the_fields(ready: Api) -> None:
    ready.record("a", 3)
    dead_letter(event_body("a", 4))
    [found] = list_dead_events(ready, code="event_id_conflict")
    assert found["detail"].endswith("Fields that differ: quantity.")


def test_a_dead_event_is_counted_even_if_its_writer_was_killed(
    ready: Api, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [queue_message("m", orphan_body("a"))]
    with watched() as calls:
        calls.fail(2, "after", Killed)
        with pytest.raises(Killed):
            consume(found)
    assert len(dead()) == 1
    metrics()
    assert consume(found) == []
    assert metrics()["EventsDead"] == 1


def test_a_message_stays_in_the_queue_if_its_dead_event_cannot_be_stored(ready: Api, metrics: Metrics) -> None:
    found = queue_messages(orphan_body("a"), event_body("b"))
    metrics()
    with watched() as calls:
        calls.fail_where(lambda parameters: "UpdateExpression" in parameters, timed_out)
        assert consume(found, receives=redelivery.MAX_RECEIVES) == ["m0"]
    assert (dead(), "EventsDead" in metrics()) == ([], False)
    assert consume(found) == []
    assert [row["event_id"] for row in dead()] == ["a"]
    [ledger] = ledgers.check()
    assert ledger.head["used"] == 1


# --- From the dead-letter queue, and unreadable messages ---


def test_events_of_the_dead_letter_queue_become_dead_events(ready: Api, metrics: Metrics) -> None:
    metrics()
    found = [queue_message("m1", event_body("a"), event_body("b")), {"MessageId": "m2", "Body": "{"}]
    assert consume(found, function="store_dead_letters") == []
    assert metrics()["EventsDead"] == 3
    assert [(each["code"], each["eventId"]) for each in list_dead_events(ready)] == [
        ("undelivered", "a"),
        ("undelivered", "b"),
        ("unreadable", None),
    ]
    assert move(ready, "redrive", code="undelivered").json == {"redriven": 2, "kept": 0}
    assert consume(take_messages()) == []
    assert ready.get("/api/usage/subscription/sub-1").json["usage"][0]["used"] == 2


def test_events_of_the_dead_letter_queue_keep_a_known_reason_and_recorded_events_are_left_out(ready: Api) -> None:
    """Some events of the message were recorded or dead-lettered before SQS moved it to the dead-letter queue."""
    events = [event_body("recorded"), event_body("conflicts", 2), orphan_body("dead"), event_body("neither")]
    ready.record("conflicts", 1)
    dead_letter(orphan_body("dead"))
    ready.record("recorded")
    [known] = list_dead_events(ready)
    assert consume([queue_message("m1", *events)], function="store_dead_letters") == []
    found = {each["eventId"]: each for each in list_dead_events(ready)}
    assert {name: each["code"] for name, each in found.items()} == {
        "conflicts": "undelivered",
        "dead": "subscription_not_found",
        "neither": "undelivered",
    }
    assert (found["dead"]["detail"], found["dead"]["attempts"]) == (known["detail"], 2)
    assert "16 deliveries" in found["neither"]["detail"]


def test_a_reason_found_later_replaces_undelivered(ready: Api) -> None:
    assert consume([queue_message("m1", orphan_body("a"))], function="store_dead_letters") == []
    assert [each["code"] for each in list_dead_events(ready)] == ["undelivered"]
    assert move(ready, "redrive", code="undelivered").json == {"redriven": 1, "kept": 0}
    assert consume([queue_message("m1", orphan_body("a"))], function="store_dead_letters") == []
    assert consume(take_messages()) == []
    assert [each["code"] for each in list_dead_events(ready)] == ["subscription_not_found"]


@pytest.mark.parametrize("error", [timed_out, lambda: KeyError("a bug")], ids=["timeout", "a bug"])
def test_a_message_stays_in_the_dead_letter_queue_if_its_events_cannot_be_looked_up(
    ready: Api, error: Callable[[], Exception]
) -> None:
    found = [queue_message("m1", event_body("a"))]
    with watched() as calls:
        calls.fail(1, "before", error)
        assert consume(found, function="store_dead_letters") == ["m1"]
    assert dead() == []


def test_a_message_stays_in_the_dead_letter_queue_if_its_events_cannot_be_stored(ready: Api) -> None:
    found = [queue_message("m1", event_body("a"), event_body("b")), queue_message("m2", event_body("c"))]
    with watched() as calls:
        calls.fail(4, "before", timed_out)  # each event is looked up, then written
        assert consume(found, function="store_dead_letters") == ["m1"]
    assert consume(found, function="store_dead_letters", seconds=5) == ["m1", "m2"], "without time nothing is started"
    assert consume(found, function="store_dead_letters") == []
    assert {row["event_id"] for row in dead()} == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        pytest.param('{"events": [', "not JSON", id="not JSON"),
        pytest.param('{"key-hidden": 1, "key-hidden": 2}', "not JSON", id="a duplicate key"),
        pytest.param('{"events": [], "key-hidden": "hidden"}', "the message: extra_forbidden", id="an unknown field"),
        pytest.param(
            json.dumps({"events": [{"eventId": "hid den", "quantity": "hidden"}]}),
            "events.0.eventId: string_pattern_mismatch; events.0.userId: missing; events.0.subscriptionId: missing; "
            "events.0.usageType: missing; events.0.quantity: value_error; and 1 more",
            id="an invalid event",
        ),
    ],
)
def test_the_log_says_where_a_message_is_invalid_without_its_content(
    ready: Api, log_output: io.StringIO, body: str, detail: str
) -> None:
    assert consume([{"MessageId": "unreadable", "Body": body}]) == []
    [found] = list_dead_events(ready, code="unreadable")
    assert (found["body"], found["detail"], found["event"], found["subscriptionId"]) == (body, detail, None, None)
    [line] = [json.loads(line) for line in log_output.getvalue().splitlines() if "event dead-lettered" in line]
    assert line["detail"] == detail
    assert "hid" not in log_output.getvalue()


def test_the_content_of_a_dead_event_is_never_logged(ready: Api, log_output: io.StringIO) -> None:
    dead_letter(orphan_body("a", metadata={"patient": "hidden"}, quantity=7341))
    move(ready, "redrive", code="subscription_not_found")
    assert consume(take_messages()) == []
    move(ready, "drop", code="subscription_not_found")
    text = log_output.getvalue()
    assert "event dead-lettered" in text
    assert "patient" not in text
    assert "hidden" not in text
    assert "7341" not in text


def test_the_stored_detail_is_always_ascii(ready: Api) -> None:
    dead_lettering.dead_letter([DeadLetter("m", "internal_error", "\uffff検" * 900, body="x")], clock.now())
    [row] = dead()
    assert row["detail"].isascii()
