"""Dead events: their names, which of them are meant, and where a list of them goes on."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from usage_billing.kernel import cursors
from usage_billing.kernel.errors import ValidationFailed
from usage_billing.kernel.instants import instant, sortable
from usage_billing.usage.dead_events.model import (
    CODES,
    MAX_DETAIL,
    NO_SUBSCRIPTION,
    DeadEvent,
    DeadLetter,
    Position,
    Selection,
)
from usage_billing.usage.events import UsageEvent

DEAD_AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
DEAD = DeadEvent(
    subscription_id="sub-1",
    event_key="e1 0",
    code="ledger_busy",
    detail="Busy.",
    dead_at=DEAD_AT,
    last_dead_at=DEAD_AT,
    attempts=1,
    version="v1",
    content='{"eventId": "e1", "quantity": 1}',
    event_id="e1",
    user_id="user-1",
)


def test_a_dead_event_has_an_opaque_name() -> None:
    assert cursors.decode(DEAD.id, str, str) == ["sub-1", "e1 0"]


def test_a_dead_event_is_shown_as_it_was_accepted() -> None:
    assert DEAD.event == {"eventId": "e1", "quantity": 1}
    assert replace(DEAD, event_id=None, content="no JSON").event is None


def test_a_dead_event_has_the_code_of_an_error_or_of_a_message() -> None:
    assert {"unreadable", "undelivered", "ledger_busy"} <= set(CODES)
    assert list(CODES) == sorted(set(CODES))


@pytest.mark.parametrize(
    ("selection", "takes"),
    [
        pytest.param({}, True, id="any"),
        pytest.param({"code": "ledger_busy", "subscription_id": "sub-1", "event_id": "e1"}, True, id="all of it"),
        pytest.param({"code": "undelivered"}, False, id="another code"),
        pytest.param({"subscription_id": "sub-2"}, False, id="another subscription"),
        pytest.param({"event_id": "e2"}, False, id="another event"),
        pytest.param({"code": "ledger_busy", "event_id": "e2"}, False, id="one of two is another"),
    ],
)
def test_a_selection_takes_what_meets_everything_that_is_given(selection: dict[str, str], takes: bool) -> None:
    assert Selection(**selection).takes(DEAD) is takes


@pytest.mark.parametrize(
    ("before", "takes"),
    [
        pytest.param("", True, id="a list that begins"),
        pytest.param("2026-11-20T12:00:00.000Z", True, id="it died as the list began"),
        pytest.param("2026-11-20T11:59:59.999Z", False, id="it died since"),
    ],
)
def test_a_list_leaves_out_what_died_since_it_began(before: str, takes: bool) -> None:
    assert Position(before=before).takes(DEAD) is takes


HERE = Position(
    before="2026-11-20T13:00:00Z",
    code="ledger_busy",
    dead_at="2026-11-20T12:00:00Z",
    subscription_id="sub-1",
    event_key="e1 0",
)


@pytest.mark.parametrize(
    "selection",
    [
        pytest.param({}, id="of all"),
        pytest.param({"code": "ledger_busy"}, id="of a code"),
        pytest.param({"subscription_id": "sub-1"}, id="of a subscription"),
        pytest.param({"subscription_id": "sub-1", "code": "undelivered"}, id="of a subscription, whatever the code"),
        pytest.param({"subscription_id": "sub-1", "event_id": "e1"}, id="of an event"),
        pytest.param({"event_id": "e2"}, id="of an event of any subscription"),
    ],
)
def test_a_list_goes_on_where_its_cursor_says(selection: dict[str, str]) -> None:
    assert Position.parse(HERE.cursor, Selection(**selection)) == HERE


def test_a_list_of_unreadable_messages_goes_on() -> None:
    here = replace(HERE, code="unreadable", subscription_id=NO_SUBSCRIPTION)
    assert Position.parse(here.cursor, Selection()) == here


@pytest.mark.parametrize(
    ("change", "selection"),
    [
        pytest.param({}, {"code": "undelivered"}, id="another code"),
        pytest.param({"code": "no_such_code"}, {}, id="no code"),
        pytest.param({}, {"subscription_id": "sub-2"}, id="another subscription"),
        pytest.param({}, {"subscription_id": "sub-1", "event_id": "e"}, id="an event whose id begins alike"),
        pytest.param({"subscription_id": ""}, {}, id="no subscription"),
        pytest.param({"event_key": ""}, {}, id="no event"),
        pytest.param({"dead_at": ""}, {}, id="no time"),
    ],
)
def test_the_cursor_of_another_list_is_refused(change: dict[str, Any], selection: dict[str, str]) -> None:
    cursor = replace(HERE, **change).cursor
    with pytest.raises(ValidationFailed) as refused:
        Position.parse(cursor, Selection(**selection))
    assert [each.field for each in refused.value.fields] == ["cursor"]


@pytest.mark.parametrize("position", [["a"] * 4, ["a"] * 6, ["a", "a", "a", "a", 1]], ids=["short", "long", "number"])
def test_a_cursor_of_another_shape_is_refused(position: list[str | int]) -> None:
    with pytest.raises(ValidationFailed):
        Position.parse(cursors.encode(*position), Selection())


EVENT = UsageEvent("e1", "user-1", "sub-1", "report", Decimal(1), occurred_at=DEAD_AT)
LETTER = DeadLetter("m1", "ledger_busy", "Busy.", EVENT)


def test_the_same_event_has_the_same_key_whenever_it_was_accepted_and_why_ever_it_died() -> None:
    again = DeadLetter("m2", "subscription_not_found", "", replace(EVENT, accepted_at=DEAD_AT, reported_at=DEAD_AT))
    assert again.key == LETTER.key
    assert LETTER.key[0] == "sub-1"
    assert LETTER.key[1].startswith("e1 ")


@pytest.mark.parametrize(
    "difference",
    [
        {"event_id": "e2"},
        {"user_id": "user-2"},
        {"subscription_id": "sub-2"},
        {"usage_type": "analysis"},
        {"quantity": Decimal(2)},
        {"occurred_at": None},
        {"metadata": {"page": 1}},
    ],
    ids=lambda difference: next(iter(difference)),
)
def test_another_content_has_another_key(difference: dict[str, Any]) -> None:
    assert replace(LETTER, event=replace(EVENT, **difference)).key != LETTER.key


def test_a_message_without_events_is_named_by_its_body() -> None:
    unreadable = DeadLetter("m1", "unreadable", "not JSON", body="{")
    assert unreadable.key[0] == NO_SUBSCRIPTION
    assert unreadable.key == replace(unreadable, message_id="m2").key
    assert unreadable.key != replace(unreadable, body="[").key


def test_a_detail_is_kept_short_and_in_ascii() -> None:
    assert replace(LETTER, detail="\u00e9").stored_detail == "\\xe9"
    assert len(replace(LETTER, detail="x" * 2000).stored_detail) == MAX_DETAIL


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        pytest.param("2026-11-20T12:00:00.7Z", "2026-11-20T12:00:00.712Z", id="fewer digits first"),
        pytest.param("2026-11-20T12:00:00Z", "2026-11-20T12:00:00.001Z", id="a whole second first"),
    ],
)
def test_instants_that_are_sorted_as_text_are_in_order(earlier: str, later: str) -> None:
    first, second = instant(earlier), instant(later)
    assert sortable(first) < sortable(second)
    assert (instant(sortable(first)), instant(sortable(second))) == (first, second)
    assert Position(before=sortable(second)).takes(replace(DEAD, dead_at=first))
    assert not Position(before=sortable(first)).takes(replace(DEAD, dead_at=second))
