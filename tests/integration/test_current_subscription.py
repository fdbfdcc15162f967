"""No event is recorded by a subscription as it was before: each attempt reads it, together with the ledger."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from tests import ledgers
from tests.api import Api, bearer
from tests.batches import error_codes, send_batch, statuses
from tests.builders import event_body, make_subscription
from tests.clocks import At
from tests.faults import Calls, Parameters, throttled, transaction_conflict, watched
from tests.queue import consume, dead, queue_messages, take_messages
from usage_billing.subscriptions import store as subscription_store
from usage_billing.subscriptions.cycles import MonthlyCycle
from usage_billing.subscriptions.model import SubscriptionStatus
from usage_billing.usage import guesses, recording
from usage_billing.usage import store as ledger_store

pytestmark = pytest.mark.usefixtures("no_pauses")

NOON = "2026-12-20T12:00:00Z"
FROM_1, FROM_15 = "2026-12-01T00:00:00Z", "2026-12-15T00:00:00Z"
"""The starts of the periods that hold `NOON`, with the anchor days 1 and 15."""

IN_OPEN_LEDGER = ["BatchGetItem", "TransactWriteItems"]
"""The calls that record an event in a ledger that is open."""

OPENS_LEDGER = ["BatchGetItem", "Query", "Query", "TransactWriteItems"]
"""The calls that open a ledger: it also takes the number of ledgers in the period, and the quota."""


def change(name: str = "sub-1", **fields: Any) -> None:
    """Change a subscription as another process does: this one remembers it as it was."""
    subscription_store.change_subscription(name, lambda seen: replace(seen or make_subscription(name), **fields))


def pause(name: str = "sub-1") -> None:
    change(name, status=SubscriptionStatus.PAUSED)


def change_anchor_day(day: int, name: str = "sub-1") -> None:
    """Change the billing cycle, also of periods that have begun."""
    change(name, latest_cycle=MonthlyCycle(day), earlier_cycles=())


def lose_race(calls: Calls, meanwhile: Callable[[], object], times: int = 1) -> None:
    """Let the next transactions lose a race, while something else happens."""
    lost: list[Parameters] = []

    def loses(parameters: Parameters) -> bool:
        if "TransactItems" not in parameters or len(lost) == times:
            return False
        lost.append(parameters)
        meanwhile()
        return True

    calls.fail_where(loses, lambda: transaction_conflict(2))


def used() -> dict[str, int]:
    """What was used, by the start of the period and the usage type of each ledger."""
    return {ledger.head["ledger"]: int(ledger.head["used"]) for ledger in ledgers.check()}


# --- A warm function, whose subscription changes between two events ---


def test_a_pause_applies_to_the_next_event(ready: Api) -> None:
    assert ready.record("e1").status == 201
    pause()
    assert ready.record("e2").code == "subscription_inactive"
    assert ready.record("e1").status == 200, "a replay stays a replay"
    change(status=SubscriptionStatus.ACTIVE)
    assert ready.record("e2").status == 201
    change(status=SubscriptionStatus.CANCELED)
    assert error_codes(send_batch(ready, event_body("e2"), event_body("e3"))) == [None, "subscription_inactive"]
    assert consume(queue_messages(event_body("e4"))) == []
    assert [row["code"] for row in dead()] == ["subscription_inactive"]


def test_a_change_of_plan_applies_to_the_next_ledger(ready: Api) -> None:
    ready.plan("enterprise", limit=7)
    ready.plan("enterprise", "report", limit=9)
    assert ready.record("e1").json["quota"]["limit"] == 50
    change(plan_id="enterprise")
    assert ready.record("e2").json["quota"]["limit"] == 50, "an open ledger keeps its terms"
    assert ready.record("e3", usageType="report").json["quota"]["limit"] == 9


def test_a_change_of_plan_applies_to_the_next_event_of_a_customer(open_api: Api) -> None:
    assert open_api.record("e1", headers=bearer()).status == 201
    open_api.plan("enterprise", "report")
    change(plan_id="enterprise")
    for how in ({}, {"prefer": "respond-async"}):
        assert open_api.record("e2", headers=bearer() | how).status == 422
        assert open_api.record("e3", usageType="report", headers=bearer() | how).status in (201, 202)


def test_an_event_goes_to_the_period_of_the_current_cycle(ready: Api, at: At) -> None:
    at(NOON)
    assert ready.record("e1").status == 201
    change_anchor_day(15)
    with watched() as calls:
        quota = ready.record("e2").json["quota"]
    assert (quota["periodStart"], quota["used"]) == (FROM_15, 1)
    assert calls.made == ["BatchGetItem", *OPENS_LEDGER], "the ledger was guessed wrong, and read again"
    with watched() as calls:
        assert ready.record("e3").json["quota"]["used"] == 2
    assert calls.made == IN_OPEN_LEDGER, "the next guess is right"
    assert used() == {f"{FROM_1}#assessment": 1, f"{FROM_15}#assessment": 2}


# --- A cold function ---


@pytest.mark.parametrize(("anchor_day", "expected"), [(1, IN_OPEN_LEDGER), (15, ["BatchGetItem", *IN_OPEN_LEDGER])])
def test_the_first_event_of_a_subscription_takes_one_more_read_unless_its_periods_are_months(
    ready: Api, at: At, anchor_day: int, expected: list[str]
) -> None:
    at(NOON)
    change_anchor_day(anchor_day)
    ready.record("e1")
    guesses.last_seen.clear()
    with watched() as calls:
        assert ready.record("e2").status == 201
    assert calls.made == expected


def test_ledgers_that_were_guessed_wrong_are_read_together(ready: Api, at: At) -> None:
    at(NOON)
    for number in range(4):
        ready.subscribe(f"sub-{number}")
        change_anchor_day(1 if number % 2 else 15, f"sub-{number}")
    guesses.last_seen.clear()
    with watched() as calls:
        answer = send_batch(ready, *(event_body(f"e{number}", subscriptionId=f"sub-{number}") for number in range(4)))
    assert statuses(answer) == ["recorded"] * 4
    assert calls.made.count("BatchGetItem") == 2
    assert calls.made.count("TransactWriteItems") == 4


def test_more_ledgers_than_one_read_holds_are_read_in_parts(ready: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "LEDGERS_PER_READ", 3)
    events = [event_body(f"e{number}", usageType=f"type-{number % 8}") for number in range(16)]
    with watched() as calls:
        assert statuses(send_batch(ready, *events)) == ["recorded"] * 16
    reads = [number for number, name in enumerate(calls.made) if name == "BatchGetItem"]
    assert len(reads) == 3
    writes = [calls.made[start:end].count("TransactWriteItems") for start, end in pairwise([*reads, len(calls.made)])]
    assert writes == [3, 3, 2], "what was read is written before more is read"


def test_the_process_remembers_a_limited_number_of_subscriptions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guesses, "MAX_REMEMBERED", 2)
    for name in ("a", "b", "a", "b"):
        guesses.remember(make_subscription(name))
    assert set(guesses.last_seen) == {"a", "b"}
    guesses.remember(make_subscription("c"))
    assert set(guesses.last_seen) == {"c"}


@pytest.mark.parametrize("year", ["0001", "1969", "9999"])
@pytest.mark.parametrize("anchor_day", [1, 31])
def test_a_ledger_is_guessed_for_an_event_of_any_year(ready: Api, year: str, anchor_day: int) -> None:
    change_anchor_day(anchor_day)
    ready.record("e1")
    answer = ready.record("e2", occurredAt=f"{year}-12-31T23:59:59Z" if year == "9999" else f"{year}-01-01T00:00:00Z")
    assert (answer.status, answer.json["errors"][0]["field"]) == (422, "occurredAt")


# --- Races ---


def test_after_a_lost_race_the_subscription_is_read_again_with_the_head(ready: Api) -> None:
    ready.record("e1")
    with watched() as calls:
        lose_race(calls, lambda: None)
        assert ready.record("e2").status == 201
    assert calls.made == IN_OPEN_LEDGER * 2


def test_an_event_that_lost_a_race_is_refused_if_its_subscription_was_paused_meanwhile(ready: Api) -> None:
    ready.record("e1")
    with watched() as calls:
        lose_race(calls, pause)
        assert ready.record("e2").code == "subscription_inactive"
    assert used() == {"2026-11-01T00:00:00Z#assessment": 1}


def test_a_ledger_that_is_opened_after_a_lost_race_gets_the_terms_of_the_new_plan(ready: Api) -> None:
    ready.plan("enterprise", limit=7)
    with watched() as calls:
        lose_race(calls, lambda: change(plan_id="enterprise"))
        assert ready.record("e1").json["quota"]["limit"] == 7


@pytest.mark.parametrize("events", [1, 3])
def test_an_event_that_lost_a_race_follows_its_subscription_to_another_period(ready: Api, at: At, events: int) -> None:
    at(NOON)
    ready.record("before")
    bodies = [event_body(f"e{number}") for number in range(events)]
    with watched() as calls:
        lose_race(calls, lambda: change_anchor_day(15))
        answer = send_batch(ready, *bodies, *bodies)
    assert statuses(answer) == ["recorded"] * events + ["replayed"] * events
    assert used() == {f"{FROM_1}#assessment": 1, f"{FROM_15}#assessment": events}


def test_an_event_whose_period_changes_again_and_again_goes_to_the_queue(ready: Api, at: At) -> None:
    at(NOON)
    days = iter([15, 1] * recording.MAX_ROUNDS)
    with watched() as calls:
        lose_race(calls, lambda: change_anchor_day(next(days)), times=99)
        assert ready.record("e1").status == 202
    assert calls.made.count("TransactWriteItems") == 2, "an impatient caller gives up"
    assert consume(take_messages()) == []
    assert sum(used().values()) == 1


def test_events_that_never_find_their_ledger_are_given_up(ready: Api, at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each read finds another cycle than the one that it was guessed by."""
    at(NOON)
    read, days = ledger_store.read_ledgers, iter([15, 1] * recording.MAX_ROUNDS)

    def read_changed(keys: Any) -> Any:
        change_anchor_day(next(days))
        return read(keys)

    monkeypatch.setattr(ledger_store, "read_ledgers", read_changed)
    with watched() as calls:
        assert ready.record("e1").status == 202
    assert calls.made.count("BatchGetItem") == recording.MAX_ROUNDS
    assert "TransactWriteItems" not in calls.made


# --- Refusals come after a look for the event id ---


def test_an_event_is_not_refused_while_nobody_knows_if_it_is_recorded(ready: Api) -> None:
    ready.record("e1")
    pause()
    with watched() as calls:
        calls.fail_where(lambda parameters: "event_id" in str(parameters.get("RequestItems")), throttled)
        for answer in (ready.record("e1"), ready.record("e2"), ready.record("e3", occurredAt="2020-01-01T00:00:00Z")):
            assert (answer.status, answer.code) == (503, "database_unavailable")
        assert consume(queue_messages(event_body("e1"), event_body("e2"))) == ["m0", "m1"]
    assert dead() == []
    assert ready.record("e1").status == 200


def test_many_refused_events_are_looked_up_together(ready: Api) -> None:
    known = [event_body(f"known-{number}") for number in range(150)]
    assert statuses(send_batch(ready, *known)) == ["recorded"] * 150
    pause()
    unknown = [event_body(f"unknown-{number}") for number in range(60)]
    with watched() as calls:
        answer = send_batch(ready, *known, *unknown, *known[:5])
    assert statuses(answer) == ["replayed"] * 150 + ["rejected"] * 60 + ["replayed"] * 5
    assert calls.made.count("BatchGetItem") == 1 + 3, "the ledger, and up to a hundred entries in each call"
    assert len(calls.made) <= 4 + 3, "and the head, once per call"
