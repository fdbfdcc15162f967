"""The ledger: entries in sequence, exact running totals, and the billable part of each entry."""

from dataclasses import FrozenInstanceError, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import NOW, PERIOD, TERMS, make_event, make_head
from usage_billing.pricing.terms import Terms
from usage_billing.usage.ledger import Entry, Head, LedgerKey, QuotaState

QUANTITIES = st.decimals("0.000000001", "999999999999.999999999", places=9)


def appended(quantities: list[Decimal], terms: Terms | None = TERMS) -> tuple[list[Entry], Head]:
    current, entries = make_head(terms), []
    for number, quantity in enumerate(quantities):
        entry, current = current.append(make_event(f"e{number}", quantity), NOW)
        entries.append(entry)
    return entries, current


def test_an_entry_has_the_event_its_sequence_and_the_running_total() -> None:
    occurred_at = NOW - timedelta(hours=1)
    _, one = make_head().append(make_event(quantity=49), NOW)
    entry, two = one.append(make_event("e2", "2.5", occurred_at=occurred_at, metadata={"a": 1}), NOW)
    assert entry == Entry(
        key=LedgerKey("sub-1", "2026-11-01T00:00:00Z", "assessment"),
        event_id="e2",
        user_id="user-1",
        sequence=2,
        quantity=Decimal("2.5"),
        cumulative=Decimal("51.5"),
        billable_quantity=Decimal("1.5"),
        occurred_at=occurred_at,
        recorded_at=NOW,
        metadata={"a": 1},
    )
    assert two == replace(one, last_sequence=2, used=Decimal("51.5"))


def test_an_event_without_times_occurred_when_it_was_recorded() -> None:
    entry, _ = make_head().append(make_event(), NOW)
    assert entry.occurred_at == entry.recorded_at == NOW


@pytest.mark.parametrize(
    ("times", "hours_ago"),
    [
        pytest.param({"accepted_at": 1}, 1, id="accepted"),
        pytest.param({"accepted_at": 1, "reported_at": 2}, 2, id="reported before it was accepted"),
        pytest.param({"accepted_at": 1, "reported_at": 2, "occurred_at": 3}, 3, id="occurred before it was reported"),
        pytest.param({"reported_at": 3, "occurred_at": 2}, 2, id="occurred after it was reported"),
    ],
)
def test_an_entry_keeps_when_the_event_occurred_and_a_replay_may_leave_it_open(
    times: dict[str, int], hours_ago: int
) -> None:
    given: dict[str, Any] = {name: NOW - timedelta(hours=hours) for name, hours in times.items()}
    reported = make_event(**given)
    entry, _ = make_head().append(reported, NOW)
    assert entry.occurred_at == NOW - timedelta(hours=hours_ago)
    assert entry.differences(reported) == ()
    assert entry.differences(replace(reported, reported_at=NOW)) == ()
    assert entry.differences(replace(reported, occurred_at=None, reported_at=None)) == ()
    assert entry.differences(replace(reported, occurred_at=NOW)) == ("occurredAt",)


@given(st.lists(QUANTITIES, max_size=20), st.decimals("0", "1000000", places=9))
def test_sequences_have_no_gaps_and_totals_and_billable_quantities_add_up(
    quantities: list[Decimal], included: Decimal
) -> None:
    entries, after = appended(quantities, replace(TERMS, included=included))
    assert [entry.sequence for entry in entries] == list(range(1, len(quantities) + 1))
    total = billable = 0
    for entry, quantity in zip(entries, quantities, strict=True):
        total += int(quantity.scaleb(9))
        assert int(entry.cumulative.scaleb(9)) == total
        assert entry.billable_quantity is not None
        assert 0 <= entry.billable_quantity <= entry.quantity
        billable += int(entry.billable_quantity.scaleb(9))
    assert int(after.used.scaleb(9)) == total
    assert after.last_sequence == len(quantities)
    assert after.billable is not None
    assert billable == max(0, total - int(included.scaleb(9))) == int(after.billable.scaleb(9))


@given(st.lists(QUANTITIES, min_size=1, max_size=20))
def test_a_ledger_that_gets_its_terms_later_has_the_same_billable_quantities(
    quantities: list[Decimal],
) -> None:
    unrated, after = appended(quantities, None)
    rated, _ = appended(quantities)
    assert [entry.billable_quantity for entry in unrated] == [None] * len(quantities)
    assert [entry.billable_under(None) for entry in unrated] == [None] * len(quantities)
    assert [entry.billable_under(TERMS) for entry in unrated] == [entry.billable_quantity for entry in rated]
    assert after.rated(TERMS) == replace(after, terms=TERMS)


def test_the_billable_quantity_of_an_entry_never_changes_once_it_is_decided() -> None:
    [entry], _ = appended([Decimal(60)])
    assert entry.billable_quantity == 10
    assert entry.billable_under(replace(TERMS, included=Decimal(0))) == 10
    assert entry.billable_under(None) == 10


def test_terms_can_be_pinned_only_once() -> None:
    with pytest.raises(ValueError, match="has terms already"):
        make_head().rated(TERMS)


def test_events_entries_heads_and_keys_are_frozen() -> None:
    entry, after = make_head().append(make_event(), NOW)
    for value, name in [(entry, "quantity"), (after, "used"), (make_event(), "event_id"), (after.key, "usage_type")]:
        with pytest.raises(FrozenInstanceError):
            setattr(value, name, "changed")


def test_appending_does_not_change_the_previous_head() -> None:
    before = make_head()
    before.append(make_event(quantity=5), NOW)
    assert before == make_head()


def test_appending_keeps_the_billing_attributes_of_the_head() -> None:
    billed = replace(make_head(), billed_through=3, billed_quantity=Decimal(7), billed_amount=Decimal("70.00"))
    _, after = billed.append(make_event(), NOW)
    assert (after.billed_through, after.billed_quantity, after.billed_amount) == (3, Decimal(7), Decimal("70.00"))


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        pytest.param({}, [], id="the same event"),
        pytest.param({"occurred_at": None}, [], id="no time given"),
        pytest.param({"quantity": Decimal("2.50")}, [], id="the same quantity with another trailing zero"),
        pytest.param({"metadata": {"b": [1, None], "a": {"c": True}}}, [], id="metadata in another order"),
        pytest.param({"event_id": "e2"}, ["eventId"], id="another id"),
        pytest.param({"subscription_id": "sub-2"}, ["subscriptionId"], id="another subscription"),
        pytest.param({"user_id": "user-2"}, ["userId"], id="another user"),
        pytest.param({"usage_type": "report"}, ["usageType"], id="another usage type"),
        pytest.param({"quantity": Decimal("2.500000001")}, ["quantity"], id="another quantity"),
        pytest.param({"occurred_at": NOW + timedelta(microseconds=1)}, ["occurredAt"], id="another time"),
        pytest.param({"metadata": {}}, ["metadata"], id="no metadata"),
        pytest.param({"metadata": {"a": {"c": 1}, "b": [1, None]}}, ["metadata"], id="1 instead of true"),
        pytest.param({"metadata": {"a": {"c": True}, "b": [None, 1]}}, ["metadata"], id="a list in another order"),
        pytest.param({"quantity": Decimal(9), "user_id": "user-2"}, ["userId", "quantity"], id="several fields"),
    ],
)
def test_an_entry_names_the_fields_in_which_an_event_differs(change: dict[str, Any], fields: list[str]) -> None:
    reported = make_event(quantity="2.5", occurred_at=NOW, metadata={"a": {"c": True}, "b": [1, None]})
    entry, _ = make_head().append(reported, NOW)
    assert list(entry.differences(replace(reported, **change))) == fields


def test_the_same_instant_in_another_time_zone_is_the_same_event() -> None:
    reported = make_event(occurred_at=NOW)
    entry, _ = make_head().append(reported, NOW)
    assert not entry.differences(replace(reported, occurred_at=datetime.fromisoformat("2026-11-20T13:00:00+01:00")))


@pytest.mark.parametrize(
    ("used", "remaining", "exceeded"),
    [
        pytest.param("0", "50", False, id="nothing used"),
        pytest.param("49.5", "0.5", False, id="half a unit left"),
        pytest.param("50", "0", False, id="exactly the limit is not exceeded"),
        pytest.param("50.000000001", "0", True, id="the smallest quantity beyond the limit"),
        pytest.param("80", "0", True, id="remaining is never negative"),
    ],
)
def test_the_quota_state_has_the_remaining_units_and_tells_if_the_limit_is_exceeded(
    used: str, remaining: str, exceeded: bool
) -> None:
    state = QuotaState.of(Decimal(used), TERMS)
    assert state == QuotaState(Decimal(used), Decimal(50), Decimal(remaining), exceeded)


def test_an_unrated_ledger_has_no_limit_no_billable_quantity_and_no_charge() -> None:
    _, after = appended([Decimal(60)], None)
    assert after.quota == QuotaState(Decimal(60), None, None, None)
    assert (after.billable, after.charge) == (None, None)


def test_a_ledger_key_reads_back_from_its_sort_key() -> None:
    key = LedgerKey.of("sub|1", PERIOD, "a=b")
    assert key.ledger_id == "sub|1#2026-11-01T00:00:00Z#a=b"
    assert LedgerKey.parse("sub|1", key.sort_key) == key


def test_the_usage_type_is_everything_after_the_first_separator() -> None:
    assert LedgerKey.parse("sub-1", "2026-11-01T00:00:00Z#a#b") == LedgerKey("sub-1", "2026-11-01T00:00:00Z", "a#b")


def test_metadata_with_keys_in_another_order_is_the_same() -> None:
    one, other = make_event(metadata={"b": 1, "a": 2}), make_event(metadata={"a": 2, "b": 1})
    assert (
        make_head().append(one, NOW)[0].differences(other) == make_head().append(other, NOW)[0].differences(one) == ()
    )


@pytest.mark.parametrize(
    ("billed_through", "is_settled"),
    [pytest.param(999, False, id="one entry is not billed"), pytest.param(1000, True, id="the last entry is billed")],
)
def test_a_ledger_is_settled_when_its_last_entry_is_billed(billed_through: int, is_settled: bool) -> None:
    current = replace(make_head(), last_sequence=int("1000"), billed_through=billed_through)
    assert current.is_settled is is_settled
