"""Dead events: their ids, selections of them, and the cursors of their lists."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from tests.builders import NOW, make_event
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

DEAD = DeadEvent(
    subscription_id="sub-1",
    event_key="e1 0",
    code="ledger_busy",
    detail="Busy.",
    dead_at=NOW,
    last_dead_at=NOW,
    attempts=1,
    version="v1",
    content='{"eventId": "e1", "quantity": 1}',
    event_id="e1",
    user_id="user-1",
)


def test_a_dead_event_has_an_opaque_id() -> None:
    assert cursors.decode(DEAD.id, str, str) == ["sub-1", "e1 0"]


def test_a_dead_event_keeps_the_event_as_it_was_accepted() -> None:
    assert DEAD.event == {"eventId": "e1", "quantity": 1}
    assert replace(DEAD, event_id=None, content="no JSON").event is None


def test_the_codes_are_those_of_errors_and_of_messages() -> None:
    assert {"unreadable", "undelivered", "ledger_busy"} <= set(CODES)
    assert list(CODES) == sorted(set(CODES))


@pytest.mark.parametrize(
    ("selection", "included"),
    [
        pytest.param({}, True, id="no condition"),
        pytest.param(
            {"code": "ledger_busy", "subscription_id": "sub-1", "event_id": "e1"}, True, id="all conditions are met"
        ),
        pytest.param({"code": "undelivered"}, False, id="another code"),
        pytest.param({"subscription_id": "sub-2"}, False, id="another subscription"),
        pytest.param({"event_id": "e2"}, False, id="another event"),
        pytest.param({"code": "ledger_busy", "event_id": "e2"}, False, id="one of two conditions is not met"),
    ],
)
def test_a_selection_includes_events_that_meet_all_its_conditions(selection: dict[str, str], included: bool) -> None:
    assert Selection(**selection).matches(DEAD) is included


@pytest.mark.parametrize(
    ("before", "included"),
    [
        pytest.param("", True, id="the first page"),
        pytest.param("2026-11-20T12:00:00.000Z", True, id="dead-lettered when the list started"),
        pytest.param("2026-11-20T11:59:59.999Z", False, id="dead-lettered after the list started"),
    ],
)
def test_a_list_leaves_out_events_that_were_dead_lettered_after_it_started(before: str, included: bool) -> None:
    assert Position(before=before).includes(DEAD) is included


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
        pytest.param({}, id="all"),
        pytest.param({"code": "ledger_busy"}, id="one code"),
        pytest.param({"subscription_id": "sub-1"}, id="one subscription"),
        pytest.param({"subscription_id": "sub-1", "code": "undelivered"}, id="one subscription with another code"),
        pytest.param({"subscription_id": "sub-1", "event_id": "e1"}, id="one event"),
        pytest.param({"event_id": "e2"}, id="an event of any subscription"),
    ],
)
def test_a_list_continues_at_the_position_of_its_cursor(selection: dict[str, str]) -> None:
    assert Position.parse(HERE.cursor, Selection(**selection)) == HERE


def test_a_list_of_unreadable_messages_continues_at_its_cursor() -> None:
    here = replace(HERE, code="unreadable", subscription_id=NO_SUBSCRIPTION)
    assert Position.parse(here.cursor, Selection()) == here


@pytest.mark.parametrize(
    ("change", "selection"),
    [
        pytest.param({}, {"code": "undelivered"}, id="another code"),
        pytest.param({"code": "no_such_code"}, {}, id="unknown code"),
        pytest.param({}, {"subscription_id": "sub-2"}, id="another subscription"),
        pytest.param(
            {}, {"subscription_id": "sub-1", "event_id": "e"}, id="an event whose id is the beginning of another"
        ),
        pytest.param({"subscription_id": ""}, {}, id="empty subscription"),
        pytest.param({"event_key": ""}, {}, id="empty event key"),
        pytest.param({"dead_at": ""}, {}, id="empty time"),
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


EVENT = make_event(occurred_at=NOW)
LETTER = DeadLetter("m1", "ledger_busy", "Busy.", EVENT)


def test_the_key_of_an_event_does_not_depend_on_when_it_was_accepted_or_on_the_reason() -> None:
    again = DeadLetter("m2", "subscription_not_found", "", replace(EVENT, accepted_at=NOW, reported_at=NOW))
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
def test_events_with_different_content_have_different_keys(difference: dict[str, Any]) -> None:
    assert replace(LETTER, event=replace(EVENT, **difference)).key != LETTER.key


def test_the_key_of_an_unreadable_message_depends_on_its_body_only() -> None:
    unreadable = DeadLetter("m1", "unreadable", "not JSON", body="{")
    assert unreadable.key[0] == NO_SUBSCRIPTION
    assert unreadable.key == replace(unreadable, message_id="m2").key
    assert unreadable.key != replace(unreadable, body="[").key


def test_the_stored_detail_is_truncated_and_ascii() -> None:
    assert replace(LETTER, detail="pr\u00fcfung").stored_detail == "pr\\xfcfung"
    assert len(replace(LETTER, detail="x" * 2000).stored_detail) == MAX_DETAIL


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        pytest.param("2026-11-20T12:00:00.7Z", "2026-11-20T12:00:00.712Z", id="fewer digits first"),
        pytest.param("2026-11-20T12:00:00Z", "2026-11-20T12:00:00.001Z", id="a whole second first"),
    ],
)
def test_sortable_text_of_instants_is_in_their_order(earlier: str, later: str) -> None:
    first, second = instant(earlier), instant(later)
    assert sortable(first) < sortable(second)
    assert (instant(sortable(first)), instant(sortable(second))) == (first, second)
    assert Position(before=sortable(second)).includes(replace(DEAD, dead_at=first))
    assert not Position(before=sortable(first)).includes(replace(DEAD, dead_at=second))
