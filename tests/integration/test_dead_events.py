"""Dead events: kept until somebody redrives or drops them, listed by reason or id, and only for administrators."""

import io
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote

import pytest

from tests import ledgers
from tests.api import ADMIN, Answer, Api, bearer
from tests.faults import Killed, timed_out, watched
from tests.integration.test_batch import event
from tests.integration.test_deliveries import message, messages
from tests.integration.test_queue import ASYNC, consume, received
from tests.queue import dead
from usage_billing.kernel import cursors
from usage_billing.platform import clock, observability
from usage_billing.usage import consumer
from usage_billing.usage.dead_events import dead_lettering, redriving
from usage_billing.usage.dead_events import store as dead_event_store
from usage_billing.usage.dead_events.model import DeadLetter, Position, Selection

At = Callable[[str], None]
LIST = "/api/usage/dead-events"
ADMINISTRATOR = bearer(*ADMIN)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """The lines of the log as CloudWatch gets them."""
    written = io.StringIO()
    monkeypatch.setattr(observability.logger.registered_handler, "stream", written)
    return written


def listed(api: Api, **query: str) -> list[dict[str, Any]]:
    answer = api.get(LIST, headers=ADMINISTRATOR, query=query or None)
    assert answer.status == 200, answer.text
    found: list[dict[str, Any]] = answer.json["deadEvents"]
    return found


def move(api: Api, verb: str, **choice: Any) -> Answer:
    return api.post(f"{LIST}/{verb}", choice, headers=ADMINISTRATOR)


def die(*events: dict[str, Any]) -> None:
    """Deliver events that cannot be recorded, each in a message of its own."""
    assert consume(messages(*events)) == []


def lost(name: str, quantity: Any = 1, **more: Any) -> dict[str, Any]:
    """An event of a subscription that does not exist."""
    return event(name, quantity, subscriptionId="late", **more)


# --- What is kept -------------------------------------------------------------------------------


def test_a_dead_event_is_listed_with_its_reason_and_content(ready: Api, at: At) -> None:
    at("2026-11-20T12:00:00Z")
    die(lost("a", metadata={"n": 1.50}, occurredAt="2026-11-19T00:00:00Z"))
    [found] = listed(ready)
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


def test_an_event_that_dies_again_keeps_its_first_time_and_is_counted_once(ready: Api, at: At, metrics: Any) -> None:
    at("2026-11-20T12:00:00Z")
    die(lost("a"))
    metrics()
    at("2026-11-20T13:00:00Z")
    assert consume([message("another message", lost("a"))]) == []
    assert "EventsDead" not in metrics()
    [found] = listed(ready)
    assert (found["deadAt"], found["lastDeadAt"], found["attempts"]) == (
        "2026-11-20T12:00:00Z",
        "2026-11-20T13:00:00Z",
        2,
    )
    assert found["event"]["acceptedAt"] == "2026-11-20T12:00:00Z"


def test_one_id_with_different_contents_is_as_many_dead_events(ready: Api, metrics: Any) -> None:
    metrics()
    die(lost("a"), lost("a", quantity=2), lost("a", metadata={"x": 1}), lost("a", quantity=2))
    assert metrics()["EventsDead"] == 3
    assert len(listed(ready, subscriptionId="late", eventId="a")) == 3


def test_a_reason_that_changes_moves_the_event_to_the_other_code(ready: Api) -> None:
    die(lost("a"))
    ready.subscribe("late", user="user-2")
    assert consume([message("another message", lost("a"))]) == []
    assert [each["code"] for each in listed(ready)] == ["subscription_not_owned"]
    assert listed(ready, code="subscription_not_found") == []


def test_a_conflict_that_died_names_the_fields(ready: Api) -> None:
    ready.record("a", 3)
    die(event("a", 4))
    [found] = listed(ready, code="event_id_conflict")
    assert found["detail"].endswith("What differs: quantity.")


def test_a_count_is_never_missed_by_a_writer_that_was_cut_off(
    ready: Api, metrics: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [message("m", lost("a"))]
    with watched() as calls:
        calls.fail(2, "after", Killed)
        with pytest.raises(Killed):
            consume(found)
    assert len(dead()) == 1
    metrics()
    assert consume(found) == []
    assert metrics()["EventsDead"] == 1


def test_a_table_that_does_not_answer_keeps_the_message(ready: Api, metrics: Any) -> None:
    found = messages(lost("a"), event("b"))
    metrics()
    with watched() as calls:
        calls.fail_where(lambda parameters: "UpdateExpression" in parameters, timed_out)
        assert consume(found, receives=consumer.MAX_RECEIVES) == ["m0"]
    assert (dead(), "EventsDead" in metrics()) == ([], False)
    assert consume(found) == []
    assert [row["event_id"] for row in dead()] == ["a"]
    [ledger] = ledgers.check()
    assert ledger.head["used"] == 1


# --- What SQS moved aside, and what cannot be read ----------------------------------------------


def test_what_sqs_moved_aside_is_kept_too(ready: Api, metrics: Any) -> None:
    metrics()
    found = [message("m1", event("a"), event("b")), {"MessageId": "m2", "Body": "{"}]
    assert consume(found, function="store_dead_letters") == []
    assert metrics()["EventsDead"] == 3
    assert [(each["code"], each["eventId"]) for each in listed(ready)] == [
        ("undelivered", "a"),
        ("undelivered", "b"),
        ("unreadable", None),
    ]
    assert move(ready, "redrive", code="undelivered").json == {"redriven": 2, "kept": 0}
    assert consume(received()) == []
    assert ready.get("/api/usage/subscription/sub-1").json["usage"][0]["used"] == 2


def test_what_sqs_moved_aside_keeps_the_reason_that_is_known_and_leaves_out_what_is_recorded(ready: Api) -> None:
    """On its last delivery all its events but one were recorded or dead-lettered, so the message was moved aside."""
    events = [event("recorded"), event("conflicts", 2), lost("dead"), event("neither")]
    ready.record("conflicts", 1)
    die(lost("dead"))
    ready.record("recorded")
    [known] = listed(ready)
    assert consume([message("m1", *events)], function="store_dead_letters") == []
    found = {each["eventId"]: each for each in listed(ready)}
    assert {name: each["code"] for name, each in found.items()} == {
        "conflicts": "undelivered",
        "dead": "subscription_not_found",
        "neither": "undelivered",
    }
    assert (found["dead"]["detail"], found["dead"]["attempts"]) == (known["detail"], 2)
    assert "16 deliveries" in found["neither"]["detail"]


def test_a_reason_that_is_found_after_a_message_was_moved_aside_replaces_that(ready: Api) -> None:
    assert consume([message("m1", lost("a"))], function="store_dead_letters") == []
    assert [each["code"] for each in listed(ready)] == ["undelivered"]
    assert move(ready, "redrive", code="undelivered").json == {"redriven": 1, "kept": 0}
    assert consume([message("m1", lost("a"))], function="store_dead_letters") == []
    assert consume(received()) == []
    assert [each["code"] for each in listed(ready)] == ["subscription_not_found"]


@pytest.mark.parametrize("error", [timed_out, lambda: KeyError("a bug")], ids=["no answer", "a bug"])
def test_what_may_be_recorded_and_cannot_be_looked_up_stays_in_the_dead_letter_queue(
    ready: Api, error: Callable[[], Exception]
) -> None:
    found = [message("m1", event("a"))]
    with watched() as calls:
        calls.fail(1, "before", error)
        assert consume(found, function="store_dead_letters") == ["m1"]
    assert dead() == []


def test_what_cannot_be_kept_stays_in_the_dead_letter_queue(ready: Api) -> None:
    found = [message("m1", event("a"), event("b")), message("m2", event("c"))]
    with watched() as calls:
        calls.fail(4, "before", timed_out)  # each is looked up, then written
        assert consume(found, function="store_dead_letters") == ["m1"]
    assert consume(found, function="store_dead_letters", seconds=5) == ["m1", "m2"], "without time nothing is begun"
    assert consume(found, function="store_dead_letters") == []
    assert {row["event_id"] for row in dead()} == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        pytest.param('{"events": [', "not JSON", id="not JSON"),
        pytest.param('{"key-hidden": 1, "key-hidden": 2}', "not JSON", id="a key twice"),
        pytest.param('{"events": [], "key-hidden": "hidden"}', "the message: extra_forbidden", id="an unknown field"),
        pytest.param(
            json.dumps({"events": [{"eventId": "hid den", "quantity": "hidden"}]}),
            "events.0.eventId: string_pattern_mismatch; events.0.userId: missing; events.0.subscriptionId: missing; "
            "events.0.usageType: missing; events.0.quantity: value_error; and 1 more",
            id="a faulty event",
        ),
    ],
)
def test_logs_name_where_a_message_is_faulty_and_nothing_of_its_content(
    ready: Api, log: io.StringIO, body: str, detail: str
) -> None:
    assert consume([{"MessageId": "foreign", "Body": body}]) == []
    [found] = listed(ready, code="unreadable")
    assert (found["body"], found["detail"], found["event"], found["subscriptionId"]) == (body, detail, None, None)
    [line] = [json.loads(line) for line in log.getvalue().splitlines() if "event dead-lettered" in line]
    assert line["detail"] == detail
    assert "hid" not in log.getvalue()


def test_an_event_that_died_leaves_nothing_of_its_content_in_the_log(ready: Api, log: io.StringIO) -> None:
    die(lost("a", metadata={"patient": "hidden"}, quantity=7341))
    move(ready, "redrive", code="subscription_not_found")
    assert consume(received()) == []
    move(ready, "drop", code="subscription_not_found")
    said = log.getvalue()
    assert "event dead-lettered" in said
    assert "patient" not in said
    assert "hidden" not in said
    assert "7341" not in said


def test_a_reason_is_always_text_that_logs_and_tables_take(ready: Api) -> None:
    dead_lettering.dead_letter([DeadLetter("m", "internal_error", "\uffff検" * 900, body="x")], clock.now())
    [row] = dead()
    assert row["detail"].isascii()


# --- Listing ------------------------------------------------------------------------------------


def dead_of_three_kinds(api: Api) -> None:
    """Five of a subscription that is missing, two conflicts, and three of a subscription that ended."""
    api.record("c0", 9)
    api.record("c1", 9)
    api.subscribe("ended", status="canceled")
    die(*(lost(f"n{number}") for number in range(5)), event("c0"), event("c1"))
    die(*(event(f"x{number}", subscriptionId="ended") for number in range(3)))


@pytest.mark.parametrize("limit", [1, 2, 3, 10, 100])
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param({}, 10, id="all"),
        pytest.param({"code": "subscription_not_found"}, 5, id="by code"),
        pytest.param({"code": "no_such_code"}, 0, id="by a code that nothing has"),
        pytest.param({"subscriptionId": "ended"}, 3, id="by subscription"),
        pytest.param({"subscriptionId": "late", "code": "event_id_conflict"}, 0, id="by both"),
        pytest.param({"subscriptionId": "late", "eventId": "n3"}, 1, id="by subscription and event id"),
        pytest.param({"eventId": "n3"}, 1, id="by event id"),
        pytest.param({"eventId": "n"}, 0, id="not by the beginning of an event id"),
        pytest.param({"subscriptionId": "late", "eventId": "n"}, 0, id="nor of one in its subscription"),
    ],
)
def test_a_list_has_everything_once_whatever_its_pages(
    ready: Api, limit: int, query: dict[str, str], expected: int
) -> None:
    dead_of_three_kinds(ready)
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        asked = query | cursor | {"limit": str(limit)}
        page = ready.get(LIST, headers=ADMINISTRATOR, query=asked).json
        assert len(page["deadEvents"]) <= limit
        found += [each["id"] for each in page["deadEvents"]]
        if "nextCursor" not in page:
            break
        cursor = {"cursor": page["nextCursor"]}
    assert len(found) == len(set(found)) == expected


@pytest.mark.parametrize("cursor", ["", "x", "WyJhIl0", cursors.encode("a")])
def test_a_cursor_of_nothing_is_refused(ready: Api, cursor: str) -> None:
    answer = ready.get(LIST, headers=ADMINISTRATOR, query={"cursor": cursor or "-"})
    assert (answer.status, answer.json["errors"][0]["field"]) == (422, "cursor")


def test_a_cursor_of_another_list_is_refused(ready: Api) -> None:
    dead_of_three_kinds(ready)
    asked = {"code": "subscription_not_found", "limit": "1"}
    cursor = ready.get(LIST, headers=ADMINISTRATOR, query=asked).json["nextCursor"]
    for other in ({"code": "event_id_conflict"}, {"subscriptionId": "ended"}):
        assert ready.get(LIST, headers=ADMINISTRATOR, query=other | {"cursor": cursor}).status == 422
        assert move(ready, "drop", **other, cursor=cursor).status == 422
    of_subscription = {"subscriptionId": "late", "limit": "1"}
    cursor = ready.get(LIST, headers=ADMINISTRATOR, query=of_subscription).json["nextCursor"]
    assert ready.get(LIST, headers=ADMINISTRATOR, query={"cursor": cursor}).status == 422
    assert (
        ready.get(LIST, headers=ADMINISTRATOR, query=of_subscription | {"eventId": "x", "cursor": cursor}).status == 422
    )


# --- Redriving ----------------------------------------------------------------------------------


def test_redriven_once_the_cause_is_repaired_an_event_is_recorded_in_its_own_period(ready: Api, at: At) -> None:
    at("2026-10-20T12:00:00Z")
    die(lost("a", 3))
    at("2026-11-20T12:00:00Z")
    ready.subscribe("late")
    assert move(ready, "redrive", subscriptionId="late", eventId="a").json == {"redriven": 1, "kept": 0}
    assert listed(ready) == []
    assert consume(received()) == []
    [ledger] = ledgers.check()
    assert (ledger.head["used"], ledger.entries[0]["occurred_at"]) == (3, "2026-10-20T12:00:00Z")
    assert dead() == []


def test_what_dies_again_is_listed_again_and_counted_again(ready: Api, metrics: Any) -> None:
    die(lost("a"))
    move(ready, "redrive", code="subscription_not_found")
    assert listed(ready) == []
    metrics()
    assert consume(received()) == []
    assert metrics()["EventsDead"] == 1
    assert [each["eventId"] for each in listed(ready)] == ["a"]


def test_what_dies_again_before_its_row_is_removed_stays(ready: Api) -> None:
    """The consumer may be faster than the one who redrives."""
    die(lost("a"))
    with watched() as calls:
        calls.at(3, "after", lambda _: consume(received()))
        assert move(ready, "redrive", code="subscription_not_found").json == {"redriven": 0, "kept": 1}
    assert calls.made[:3] == ["Query", "GetItem", "SendMessageBatch"]
    assert [each["attempts"] for each in listed(ready)] == [2]


def test_two_who_redrive_the_same_at_once_lose_nothing(ready: Api) -> None:
    """One is slow: what it removes last is not what died again meanwhile."""
    die(lost("a"))
    [slow] = dead_event_store.page(Selection("subscription_not_found"), 1, Position())[0]
    assert move(ready, "redrive", code="subscription_not_found").json["redriven"] == 1
    assert consume(received()) == []
    assert redriving.redrive([slow]) == redriving.Removal(0, 1)
    assert len(dead()) == 1


@pytest.mark.parametrize("choice", [{"code": "subscription_not_found"}, {"eventId": "a"}], ids=["code", "event id"])
def test_what_an_index_still_lists_but_was_dropped_is_not_sent_back(
    ready: Api, monkeypatch: pytest.MonkeyPatch, choice: dict[str, str]
) -> None:
    """The index lags behind the table. Whoever dropped an event must not find it on an invoice."""
    die(lost("a"), lost("b"))
    stale = dead_event_store.page(Selection("subscription_not_found", event_id=choice.get("eventId")), 100, Position())
    move(ready, "drop", subscriptionId="late", eventId="a")
    monkeypatch.setattr(dead_event_store, "page", lambda *_: stale)
    left = 1 if "code" in choice else 0
    for verb, done in (("redrive", "redriven"), ("drop", "dropped")):
        assert move(ready, verb, **choice).json == {done: left, "kept": 0}
        left = 0
    assert [json.loads(each["Body"])["events"][0]["eventId"] for each in received()] == ["b"] * ("code" in choice)


def test_what_no_longer_meets_the_selection_since_an_index_was_read_stays(
    ready: Api, at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One died again for another reason; one was dropped and died anew, after the first call of these."""
    at("2026-11-20T12:00:00Z")
    die(lost("changed"), lost("anew"))
    stale = dead_event_store.page(Selection("subscription_not_found"), 100, Position())
    at("2026-11-20T13:00:00Z")
    move(ready, "drop", subscriptionId="late", eventId="anew")
    at("2026-11-20T14:00:00Z")
    die(lost("anew"))
    ready.subscribe("late", user="user-2")
    assert consume([message("again", lost("changed"))]) == []
    at("2026-11-20T13:30:00Z")
    monkeypatch.setattr(dead_event_store, "page", lambda *_: stale)
    assert move(ready, "redrive", code="subscription_not_found").json == {"redriven": 0, "kept": 0}
    assert (len(dead()), received()) == (2, [])


def test_each_call_goes_on_where_the_last_one_ended_and_ends(
    ready: Api, at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though everything dies again at once, and the list never becomes shorter."""
    monkeypatch.setattr(redriving, "MAX_PER_CALL", 3)
    at("2026-11-20T12:00:00Z")
    die(*(lost(f"e{number}") for number in range(10)))
    choice: dict[str, Any] = {"code": "subscription_not_found"}
    redriven, clock_ = 0, 0
    while True:
        clock_ += 1
        at(f"2026-11-20T13:00:{clock_:02}Z")
        answer = move(ready, "redrive", **choice).json
        redriven += answer["redriven"]
        at(f"2026-11-20T14:00:{clock_:02}Z")
        assert consume(received()) == []
        if "nextCursor" not in answer:
            break
        choice["cursor"] = answer["nextCursor"]
    assert (redriven, clock_) == (10, 4)
    assert len(dead()) == 10


def test_an_event_that_the_queue_does_not_take_is_kept(ready: Api) -> None:
    die(lost("a"))
    with watched() as calls:
        calls.fail_where(lambda parameters: "Entries" in parameters, timed_out)
        assert move(ready, "redrive", code="subscription_not_found").json == {"redriven": 0, "kept": 1}
    assert len(listed(ready)) == 1


def test_an_event_that_cannot_be_removed_is_kept_and_recorded_once(ready: Api) -> None:
    die(lost("a"))
    ready.subscribe("late")
    with watched() as calls:
        calls.fail_where(lambda parameters: "ConditionExpression" in parameters, timed_out)
        assert move(ready, "redrive", code="subscription_not_found").json == {"redriven": 0, "kept": 1}
    assert move(ready, "redrive", code="subscription_not_found").json == {"redriven": 1, "kept": 0}
    assert consume(received()) == []
    [ledger] = ledgers.check()
    assert (ledger.head["used"], dead()) == (1, [])


def test_without_time_nothing_is_moved(ready: Api) -> None:
    die(lost("a"))
    for verb, done in (("redrive", "redriven"), ("drop", "dropped")):
        answer = ready.post(f"{LIST}/{verb}", {"code": "subscription_not_found"}, headers=ADMINISTRATOR, seconds=5)
        assert answer.json == {done: 0, "kept": 1}
    assert (len(dead()), received()) == (1, [])


def test_redriven_events_share_messages(ready: Api) -> None:
    die(*(lost(f"e{number}") for number in range(60)))
    assert move(ready, "redrive", code="subscription_not_found").json["redriven"] == 60
    [sent] = received()
    assert len(json.loads(sent["Body"])["events"]) == 60


# --- Dropping -----------------------------------------------------------------------------------


def test_one_of_several_contents_is_dropped_by_its_id(ready: Api, caplog: pytest.LogCaptureFixture) -> None:
    die(lost("a"), lost("a", quantity=2), lost("b"))
    [doomed] = [each["id"] for each in listed(ready, eventId="a") if each["event"]["quantity"] == 2]
    assert move(ready, "drop", ids=[doomed, doomed, "no id of anything"]).json == {"dropped": 1, "kept": 0}
    assert [(each["eventId"], each["event"]["quantity"]) for each in listed(ready)] == [("a", 1), ("b", 1)]
    assert received() == []
    [line] = [record for record in caplog.records if record.message == "dead event dropped"]
    said = line.__dict__
    assert (said["event_id"], said["subscription_id"], said["dead_event"]) == ("a", "late", doomed)


@pytest.mark.parametrize(("verb", "done"), [("redrive", "redriven"), ("drop", "dropped")])
def test_a_customers_event_is_chosen_by_the_id_that_it_is_recorded_under(ready: Api, verb: str, done: str) -> None:
    name = f"customer:{'x' * 128}"
    die(lost(name), lost("a"))
    assert move(ready, verb, eventId=name).json == {done: 1, "kept": 0}
    assert [each["eventId"] for each in listed(ready)] == ["a"]


@pytest.mark.parametrize("parts", [("", ""), ("late", ""), ("", "a")])
def test_an_id_with_an_empty_part_is_the_id_of_nothing(ready: Api, parts: tuple[str, str]) -> None:
    die(lost("a"))
    for verb, done in (("redrive", "redriven"), ("drop", "dropped")):
        answer = move(ready, verb, ids=[cursors.encode(*parts)])
        assert (answer.status, answer.json) == (200, {done: 0, "kept": 0})
    assert len(dead()) == 1


def test_the_log_says_who_dropped_what(ready: Api, log: io.StringIO) -> None:
    die(lost("a"))
    move(ready, "drop", code="subscription_not_found")
    [line] = [json.loads(line) for line in log.getvalue().splitlines() if "dead event dropped" in line]
    assert (line["caller"], line["event_id"], line["subscription_id"]) == ("admin-1", "a", "late")


def test_a_hundred_of_the_longest_ids_fit_into_a_call(ready: Api) -> None:
    long = {"subscriptionId": "s" * 128}
    tail = "\\" * 125
    die(*(event(f"{number:03}{tail}", **long) for number in range(100)))
    ids = [each["id"] for each in listed(ready)]
    assert 500 < max(map(len, ids)) < 1024
    assert move(ready, "drop", ids=ids).json == {"dropped": 100, "kept": 0}


def test_ids_are_narrowed_by_what_else_is_given(ready: Api) -> None:
    die(lost("a"))
    [found] = listed(ready)
    assert move(ready, "drop", ids=[found["id"]], code="event_id_conflict").json == {"dropped": 0, "kept": 0}
    assert move(ready, "drop", ids=[found["id"]], code="subscription_not_found").json == {"dropped": 1, "kept": 0}


@pytest.mark.parametrize("verb", ["redrive", "drop"])
@pytest.mark.parametrize("body", [{}, {"cursor": "x"}, {"ids": []}, {"ids": ["x"] * 101}, {"code": "NO"}])
def test_all_of_them_are_never_meant_by_accident(ready: Api, verb: str, body: dict[str, Any]) -> None:
    die(lost("a"))
    assert move(ready, verb, **body).status == 422
    assert len(dead()) == 1


# --- One event, and what became of it -----------------------------------------------------------


def look(api: Api, event_id: str, subscription: str = "sub-1", **kwargs: Any) -> Answer:
    return api.get(f"/api/usage/subscription/{subscription}/records/{event_id}", **kwargs)


def test_a_recorded_event_is_shown_as_in_the_list_of_records(ready: Api) -> None:
    ready.record("a", 40)
    ready.record("b", 20, metadata={"n": 1})
    ready.bill()
    ready.record("c", 20)
    listed_ = {each["eventId"]: each for each in ready.get("/api/usage/subscription/sub-1/records").json["records"]}
    assert listed_["b"]["invoiceItemId"]
    for name, record in listed_.items():
        for headers in (None, bearer("user-1"), ADMINISTRATOR):
            answer = look(ready, name, headers=headers)
            assert (answer.status, answer.json) == (200, {"status": "recorded"} | record)


def test_a_dead_event_says_its_reason_to_its_owner_and_nothing_of_its_content(ready: Api) -> None:
    ready.subscribe(status="paused")
    die(event("a", metadata={"secret": 1}))
    for headers in (None, bearer("user-1"), ADMINISTRATOR):
        answer = look(ready, "a", headers=headers)
        assert answer.status == 200
        assert answer.json["status"] == "dead"
        assert answer.json["code"] == "subscription_inactive"
        assert answer.json["detail"] == "The subscription sub-1 is paused."
        assert set(answer.json) == {
            "status",
            "eventId",
            "subscriptionId",
            "code",
            "detail",
            "deadAt",
            "lastDeadAt",
            "attempts",
        }


def test_an_operator_looks_up_an_event_whose_subscription_does_not_exist(ready: Api) -> None:
    die(lost("a"))
    for headers in (None, ADMINISTRATOR):
        answer = look(ready, "a", "late", headers=headers)
        assert (answer.status, answer.json["status"], answer.json["code"]) == (200, "dead", "subscription_not_found")
        nothing = look(ready, "b", "late", headers=headers)
        assert (nothing.status, nothing.code) == (404, "subscription_not_found")
        known = look(ready, "b", headers=headers)
        assert (known.status, known.code) == (404, "event_not_found")
    assert look(ready, "a", "late", headers=bearer("user-1")).code == "forbidden", (
        "it names them, but is not theirs yet"
    )


def test_an_event_that_names_another_user_is_not_the_owners_to_see(ready: Api) -> None:
    die(event("a", userId="user-2"))
    assert look(ready, "a").json["code"] == "subscription_not_owned"
    assert look(ready, "a", headers=bearer("user-1")).code == "event_not_found"
    assert look(ready, "a", headers=bearer("user-2")).status == 403


def test_of_several_that_died_the_latest_is_shown(ready: Api, at: At) -> None:
    at("2026-11-20T12:00:00Z")
    ready.subscribe(status="paused")
    die(event("a", 1))
    at("2026-11-20T13:00:00Z")
    die(event("a", 2))
    assert look(ready, "a").json["deadAt"] == "2026-11-20T13:00:00Z"


def test_an_event_that_is_recorded_is_not_dead_whatever_else_used_its_id(ready: Api) -> None:
    ready.record("a", 3)
    die(event("a", 4))
    assert (look(ready, "a").json["status"], look(ready, "a").json["quantity"]) == ("recorded", 3)


def test_an_event_in_the_queue_is_not_known_yet(ready: Api) -> None:
    ready.record("a", headers=ASYNC)
    answer = look(ready, "a")
    assert (answer.status, answer.code) == (404, "event_not_found")
    assert "queue" in answer.json["detail"]
    assert consume(received()) == []
    assert look(ready, "a").json["status"] == "recorded"


ODD = [
    "a/b",
    "a//b",
    "/",
    "50%",
    "%2F",
    "a%2Fb",
    "a?b=c",
    "https://host/path?x=1#y",
    '"',
    "<>[]{}|^`\\",
    "#",
    "+",
    "~",
    "a:b",
]


@pytest.mark.parametrize("name", ODD)
def test_an_id_of_any_characters_is_found_by_the_path_that_api_gateway_hands_on(ready: Api, name: str) -> None:
    """An HTTP API decodes every escape of a path but `%25`, and cuts it at a `?` that it has decoded."""
    assert ready.record(name).status == 201
    asked = quote(quote(name, safe=""), safe="") if "?" in name else quote(name, safe="")
    handed_on = asked.replace("%25", "\0")
    handed_on = unquote(handed_on).replace("\0", "%25")
    assert "?" not in handed_on
    path = f"/api/usage/subscription/sub-1/records/{handed_on}"
    answer = ready.get("/api/usage/subscription/sub-1/records/x", raw_path=path)
    assert (answer.status, answer.json.get("eventId")) == (200, name)


def test_the_lookup_beside_a_redrive_finds_one_or_the_other(ready: Api) -> None:
    """Never both, and never an error."""
    die(lost("a"))
    ready.subscribe("late")
    assert look(ready, "a", "late").json["status"] == "dead"
    move(ready, "redrive", subscriptionId="late")
    assert look(ready, "a", "late").code == "event_not_found"
    consume(received())
    assert look(ready, "a", "late").json["status"] == "recorded"
