"""Races, one interleaving at a time: another writer comes between the read and the write."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from tests.api import Api
from tests.builders import KEY, NOW, TERMS, make_event, make_head, make_terms
from tests.deadlines import stopped
from tests.ledgers import check, rows, unsettled
from tests.metrics import Metrics
from tests.runs import refuse_hand_over
from usage_billing.billing import ledger_settler, runner
from usage_billing.billing import store as settlement_store
from usage_billing.billing.settlement import Settlement, settle
from usage_billing.kernel.errors import LedgerBusy
from usage_billing.platform import retries
from usage_billing.platform.start_times import StartTime
from usage_billing.pricing.terms import Terms
from usage_billing.usage import store as ledger_store
from usage_billing.usage.ledger import Head
from usage_billing.usage.store import EventsExist, HeadMoved

OTHER_TERMS = make_terms(0, "99.00", plan_id="enterprise")
UNRATED = make_head(None)


def append(seen: Head, event_id: str, quantity: int = 30, rate: Terms | None = None) -> Head:
    """Append an event to the head that was read, as `recording` does."""
    rated = seen.rated(rate) if rate else seen
    entry, after = rated.append(make_event(event_id, quantity), NOW)
    ledger_store.append(seen, [entry], after, StartTime.now())
    return after


def stored() -> Head:
    head = ledger_store.head(KEY)
    assert head is not None
    return head


def all_rows() -> list[Any]:
    return [rows(name) for name in ("USAGE_TABLE", "USAGE_SUMMARY_TABLE", "USAGE_INVOICE_ITEM_TABLE", "INVOICE_TABLE")]


@pytest.fixture
def opened(ready: Api) -> Head:
    """A ledger with one entry of 30, with the terms of the plan of sub-1."""
    return append(UNRATED, "e1", rate=TERMS)


def test_when_two_callers_open_a_ledger_the_loser_gets_the_current_head(opened: Head) -> None:
    before = all_rows()
    with pytest.raises(HeadMoved) as moved:
        append(UNRATED, "e2", rate=TERMS)
    assert moved.value.head == opened
    assert all_rows() == before, "the loser writes nothing"


def test_when_two_callers_append_the_loser_gets_the_current_head(opened: Head) -> None:
    second = append(opened, "e2")
    before = all_rows()
    with pytest.raises(HeadMoved) as moved:
        append(opened, "e3")
    assert moved.value.head == second
    assert all_rows() == before
    assert append(second, "e3").last_sequence == 3
    check()


def test_an_existing_event_is_found_even_if_the_head_has_changed(opened: Head) -> None:
    append(opened, "e2")
    before = all_rows()
    with pytest.raises(EventsExist) as exist:
        append(opened, "e1")
    assert [(entry.event_id, entry.sequence) for entry in exist.value.stored] == [("e1", 1)]
    assert all_rows() == before


def test_the_first_writer_pins_the_terms(ready: Api) -> None:
    unrated = append(UNRATED, "e1")
    rated = append(unrated, "e2", rate=TERMS)
    with pytest.raises(HeadMoved) as moved:
        append(unrated, "e3", rate=OTHER_TERMS)
    assert moved.value.head == rated
    assert stored().terms == TERMS


def test_appending_to_a_head_read_before_a_settlement_keeps_the_new_watermark(opened: Head) -> None:
    settlement_store.save_settlement(settle(opened, "run-1", NOW), opened)
    append(opened, "e2")
    assert (stored().billed_through, stored().last_sequence) == (1, 2)
    check()


def test_when_two_runs_settle_the_same_entries_they_are_billed_once(opened: Head) -> None:
    both = append(opened, "e2")
    settlement_store.save_settlement(settle(both, "run-1", NOW), both)
    before = all_rows()
    with pytest.raises(HeadMoved) as moved:
        settlement_store.save_settlement(settle(both, "run-2", NOW), both)
    assert moved.value.head == settle(both, "run-1", NOW).after
    assert all_rows() == before
    check()


def test_a_run_with_a_stale_watermark_bills_nothing_twice(opened: Head) -> None:
    """Its item would even have a new id. Only the condition on the watermark stops it."""
    early = append(opened, "e2")
    settlement_store.save_settlement(settle(early, "run-1", NOW), early)
    late = append(stored(), "e3")
    read_once = append_in_memory(early)
    with pytest.raises(HeadMoved):
        settlement_store.save_settlement(settle(read_once, "run-2", NOW), read_once)
    assert stored() == late
    check()


def append_in_memory(head: Head) -> Head:
    """The head with e3, as another reader saw it just before the settlement."""
    return head.append(make_event("e3", 30), NOW)[1]


def test_usage_recorded_during_a_settlement_is_billed_by_the_next_run(opened: Head) -> None:
    seen = append(opened, "e2")
    append(seen, "e3")
    settlement_store.save_settlement(settle(seen, "run-1", NOW), seen)
    assert (stored().billed_through, stored().last_sequence) == (2, 3)
    assert len(list(unsettled(check()))) == 1, "the ledger is still pending"
    totals = runner.run(runner.whole_run(), now=lambda: NOW, deadline=stopped(900), hand_over=refuse_hand_over)
    assert totals.amounts == {"USD": Decimal("300.00")}
    assert list(unsettled(check())) == []


def test_a_run_does_not_replace_terms_that_an_event_pinned(ready: Api) -> None:
    unrated = append(UNRATED, "e1", 60)
    append(unrated, "e2", rate=TERMS)
    with pytest.raises(HeadMoved):
        settlement_store.save_settlement(settle(unrated.rated(OTHER_TERMS), "run-1", NOW), unrated)
    assert (stored().terms, stored().billed_through) == (TERMS, 0)
    check()


def test_an_event_does_not_replace_terms_that_a_run_pinned(ready: Api) -> None:
    """The run does not change the last sequence. Only the condition on the terms stops the event."""
    unrated = append(UNRATED, "e1", 60)
    settlement_store.save_settlement(settle(unrated.rated(TERMS), "run-1", NOW), unrated)
    with pytest.raises(HeadMoved):
        append(unrated, "e2", rate=OTHER_TERMS)
    assert (stored().terms, stored().last_sequence) == (TERMS, 1)
    check()


def test_a_run_does_not_replace_terms_pinned_between_its_two_attempts(
    ready: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    unrated = append(UNRATED, "e1", 60)
    write = settlement_store._write_settlement

    def interrupted(new: Settlement, seen: Head, *, keep_pending: bool) -> None:
        append(stored(), "e3" if keep_pending else "e2", rate=TERMS if keep_pending else None)
        write(new, seen, keep_pending=keep_pending)

    monkeypatch.setattr(settlement_store, "_write_settlement", interrupted)
    with pytest.raises(HeadMoved):
        settlement_store.save_settlement(settle(unrated.rated(OTHER_TERMS), "run-1", NOW), unrated)
    assert (stored().terms, stored().billed_through) == (TERMS, 0)
    check()


def interrupt_after_reading(
    monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object], name: str = "read_ledgers"
) -> None:
    """Call `meanwhile` once, after heads are read and before anything is written."""
    read = getattr(ledger_store, name)
    done: list[object] = []

    def read_once(keys: object) -> Any:
        found = read(keys)
        if not done:
            done.append(keys)
            meanwhile()
        return found

    monkeypatch.setattr(ledger_store, name, read_once)
    monkeypatch.setattr("time.sleep", lambda _: None)


def test_a_request_that_loses_a_race_retries_with_the_current_head(
    ready: Api, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready.record("e1", 30)
    interrupt_after_reading(monkeypatch, lambda: ready.record("other", 30))
    metrics()
    answer = ready.record("e2", 30)
    assert (answer.status, answer.json["sequence"], answer.json["billableQuantity"]) == (201, 3, 30)
    assert metrics() == {"EventsRecorded": 2, "LedgerRetries": 1}
    check()


def test_two_simultaneous_copies_of_an_event_count_once(ready: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    twin: list[Any] = []
    interrupt_after_reading(monkeypatch, lambda: twin.append(ready.record("e1", 30)))
    answer = ready.record("e1", 30)
    assert (twin[0].status, answer.status) == (201, 200)
    assert answer.json == twin[0].json
    check()


def test_two_simultaneous_runs_bill_once(ready: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    ready.record("e1", 60)
    other: list[Any] = []
    interrupt_after_reading(monkeypatch, lambda: other.append(ready.bill().json), "heads_of")
    answer = ready.bill().json
    assert (other[0]["ledgersSettled"], answer["ledgersSettled"], answer["failures"]) == (1, 0, 0)
    assert [other[0]["totals"], answer["totals"]] == [{"USD": "100.00"}, {}]
    check()


def test_a_ledger_that_keeps_changing_is_left_pending_after_the_last_attempt(
    opened: Head, ready: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def lose(*_: object) -> None:
        tried.append(1)
        raise HeadMoved(None)

    monkeypatch.setattr("time.sleep", lambda _: None)
    with monkeypatch.context() as busy:
        busy.setattr(settlement_store, "save_settlement", lose)
        with pytest.raises(LedgerBusy):
            ledger_settler.settle_ledger(KEY, "run-1", lambda: NOW)
        assert len(tried) == retries.MAX_ATTEMPTS
        assert ready.bill().json["failures"] == 1
    assert ready.bill().json["ledgersSettled"] == 1
