"""The ledger: entries in sequence, exact running totals, and what of each is billable."""

from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage_billing.pricing.terms import Terms
from usage_billing.pricing.unit import UnitPriced
from usage_billing.subscriptions.cycles import MonthlyCycle
from usage_billing.usage.events import UsageEvent, timely
from usage_billing.usage.ledger import Entry, Head, LedgerKey, QuotaState

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
PERIOD = MonthlyCycle(1).period_of(NOW)
TERMS = Terms("business", Decimal(50), UnitPriced(Decimal("10.00")), "assessment", "USD")
QUANTITIES = st.decimals("0.000000001", "999999999999.999999999", places=9)


def event(quantity: Any = 1, event_id: str = "e1", **more: Any) -> UsageEvent:
    values = {"user_id": "user-1", "subscription_id": "sub-1", "usage_type": "assessment"}
    return UsageEvent(event_id=event_id, quantity=Decimal(quantity), **(values | more))


def head(terms: Terms | None = TERMS) -> Head:
    return Head(key=LedgerKey.of("sub-1", PERIOD, "assessment"), user_id="user-1", period=PERIOD, terms=terms)


def appended(quantities: list[Decimal], terms: Terms | None = TERMS) -> tuple[list[Entry], Head]:
    current, entries = head(terms), []
    for number, quantity in enumerate(quantities):
        entry, current = current.append(event(quantity, f"e{number}"), NOW)
        entries.append(entry)
    return entries, current


def test_an_entry_holds_the_event_its_sequence_and_the_running_total() -> None:
    occurred_at = NOW - timedelta(hours=1)
    _, one = head().append(event(49), NOW)
    entry, two = one.append(event("2.5", "e2", occurred_at=occurred_at, metadata={"a": 1}), NOW)
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


def test_an_event_without_a_time_occurred_when_it_was_recorded() -> None:
    entry, _ = head().append(event(), NOW)
    assert entry.occurred_at == entry.recorded_at == NOW


@pytest.mark.parametrize(
    ("known", "occurred_hours_ago"),
    [
        pytest.param({"accepted_at": 1}, 1, id="when it was taken"),
        pytest.param({"accepted_at": 1, "reported_at": 2}, 2, id="when it was reported"),
        pytest.param({"accepted_at": 1, "reported_at": 2, "occurred_at": 3}, 3, id="when the work was done"),
        pytest.param({"reported_at": 3, "occurred_at": 2}, 2, id="whichever is earlier"),
    ],
)
def test_an_event_occurred_at_the_first_time_that_is_known(known: dict[str, int], occurred_hours_ago: int) -> None:
    reported = event(**{name: NOW - timedelta(hours=hours) for name, hours in known.items()})
    entry, _ = head().append(reported, NOW)
    assert entry.occurred_at == NOW - timedelta(hours=occurred_hours_ago)
    assert entry.differences(reported) == ()
    assert entry.differences(replace(reported, reported_at=NOW)) == ()
    assert entry.differences(replace(reported, occurred_at=None, reported_at=None)) == ()
    assert entry.differences(replace(reported, occurred_at=NOW)) == ("occurredAt",)


@given(st.lists(QUANTITIES, max_size=20), st.decimals("0", "1000000", places=9))
def test_sequences_have_no_gap_totals_are_sums_and_billable_quantities_sum_to_what_lies_beyond(
    quantities: list[Decimal], included: Decimal
) -> None:
    entries, after = appended(quantities, replace(TERMS, included=included))
    assert [entry.sequence for entry in entries] == list(range(1, len(quantities) + 1))
    total = 0
    for entry, quantity in zip(entries, quantities, strict=True):
        total += int(quantity.scaleb(9))
        assert int(entry.cumulative.scaleb(9)) == total
        assert 0 <= entry.billable_quantity <= entry.quantity
    assert int(after.used.scaleb(9)) == total
    assert after.last_sequence == len(quantities)
    billable = sum(int(entry.billable_quantity.scaleb(9)) for entry in entries)
    assert billable == max(0, total - int(included.scaleb(9))) == int(after.billable.scaleb(9))


@given(st.lists(QUANTITIES, min_size=1, max_size=20))
def test_an_unrated_ledger_counts_the_same_and_its_entries_are_rated_later_to_the_same(
    quantities: list[Decimal],
) -> None:
    unrated, after = appended(quantities, None)
    rated, _ = appended(quantities)
    assert [entry.billable_quantity for entry in unrated] == [None] * len(quantities)
    assert [entry.billable_under(None) for entry in unrated] == [None] * len(quantities)
    assert [entry.billable_under(TERMS) for entry in unrated] == [entry.billable_quantity for entry in rated]
    assert after.rated(TERMS) == replace(after, terms=TERMS)


def test_what_was_decided_when_an_entry_was_recorded_is_not_decided_again() -> None:
    [entry], _ = appended([Decimal(60)])
    assert entry.billable_quantity == 10
    assert entry.billable_under(replace(TERMS, included=Decimal(0))) == 10
    assert entry.billable_under(None) == 10


def test_terms_are_pinned_once() -> None:
    with pytest.raises(ValueError, match="has terms already"):
        head().rated(TERMS)


def test_values_do_not_change() -> None:
    entry, after = head().append(event(), NOW)
    for value, name in [(entry, "quantity"), (after, "used"), (event(), "event_id"), (after.key, "usage_type")]:
        with pytest.raises(FrozenInstanceError):
            setattr(value, name, "changed")


def test_appending_leaves_the_head_before_as_it_was() -> None:
    before = head()
    before.append(event(5), NOW)
    assert before == head()


def test_appending_keeps_what_billing_wrote() -> None:
    billed = replace(head(), billed_through=3, billed_quantity=Decimal(7), billed_amount=Decimal("70.00"))
    _, after = billed.append(event(), NOW)
    assert (after.billed_through, after.billed_quantity, after.billed_amount) == (3, Decimal(7), Decimal("70.00"))


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        pytest.param({}, [], id="the same event"),
        pytest.param({"occurred_at": None}, [], id="no time given: left open"),
        pytest.param({"quantity": Decimal("2.50")}, [], id="the same quantity written with another zero"),
        pytest.param({"metadata": {"b": [1, None], "a": {"c": True}}}, [], id="metadata in another order"),
        pytest.param({"event_id": "e2"}, ["eventId"], id="another id"),
        pytest.param({"subscription_id": "sub-2"}, ["subscriptionId"], id="another subscription"),
        pytest.param({"user_id": "user-2"}, ["userId"], id="another user"),
        pytest.param({"usage_type": "report"}, ["usageType"], id="another usage type"),
        pytest.param({"quantity": Decimal("2.500000001")}, ["quantity"], id="another quantity"),
        pytest.param({"occurred_at": NOW + timedelta(microseconds=1)}, ["occurredAt"], id="another time"),
        pytest.param({"metadata": {}}, ["metadata"], id="no metadata"),
        pytest.param({"metadata": {"a": {"c": 1}, "b": [1, None]}}, ["metadata"], id="1 is not true"),
        pytest.param({"metadata": {"a": {"c": True}, "b": [None, 1]}}, ["metadata"], id="a list in another order"),
        pytest.param({"quantity": Decimal(9), "user_id": "user-2"}, ["userId", "quantity"], id="several at once"),
    ],
)
def test_an_entry_names_the_fields_in_which_an_event_differs(change: dict[str, Any], fields: list[str]) -> None:
    reported = event("2.5", occurred_at=NOW, metadata={"a": {"c": True}, "b": [1, None]})
    entry, _ = head().append(reported, NOW)
    assert list(entry.differences(replace(reported, **change))) == fields


def test_the_same_instant_in_another_time_zone_is_the_same_event() -> None:
    reported = event(occurred_at=NOW)
    entry, _ = head().append(reported, NOW)
    assert not entry.differences(replace(reported, occurred_at=datetime.fromisoformat("2026-11-20T13:00:00+01:00")))


@pytest.mark.parametrize(
    ("used", "remaining", "exceeded"),
    [
        pytest.param("0", "50", False, id="nothing used"),
        pytest.param("49.5", "0.5", False, id="half a unit left"),
        pytest.param("50", "0", False, id="exactly the limit is not beyond it"),
        pytest.param("50.000000001", "0", True, id="the smallest step beyond it"),
        pytest.param("80", "0", True, id="remaining is never negative"),
    ],
)
def test_a_quota_state(used: str, remaining: str, exceeded: bool) -> None:
    state = QuotaState.of(Decimal(used), TERMS)
    assert state == QuotaState(Decimal(used), Decimal(50), Decimal(remaining), exceeded)


def test_an_unrated_ledger_knows_only_what_was_used() -> None:
    _, after = appended([Decimal(60)], None)
    assert after.quota == QuotaState(Decimal(60), None, None, None)
    assert (after.billable, after.charge) == (None, None)


HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        pytest.param({}, NOW, id="nothing is known but that it is here"),
        pytest.param({"accepted_at": NOW - HOUR}, NOW - HOUR, id="it waited since"),
        pytest.param({"reported_at": NOW - 2 * HOUR, "accepted_at": NOW - HOUR}, NOW - 2 * HOUR, id="it was reported"),
        pytest.param({"reported_at": NOW + HOUR}, NOW, id="reported by a clock that is fast"),
        pytest.param({"reported_at": NOW, "accepted_at": NOW - HOUR}, NOW - HOUR, id="the same, and it waited since"),
        pytest.param({"occurred_at": NOW + HOUR, "reported_at": NOW - HOUR}, NOW + HOUR, id="its caller says"),
    ],
)
def test_when_an_event_occurred(times: dict[str, datetime], expected: datetime) -> None:
    event = UsageEvent("e1", "user-1", "sub-1", "report", Decimal(1), **times)
    assert event.when(NOW) == expected


@pytest.mark.parametrize(
    ("occurred_at", "expected"),
    [
        pytest.param(NOW - timedelta(days=366), True, id="as old as may be"),
        pytest.param(NOW - timedelta(days=366) - timedelta(microseconds=1), False, id="older"),
        pytest.param(NOW + timedelta(minutes=15), True, id="as far ahead as may be"),
        pytest.param(NOW + timedelta(minutes=15) + timedelta(microseconds=1), False, id="further ahead"),
    ],
)
def test_timely(occurred_at: datetime, expected: bool) -> None:
    assert timely(occurred_at, NOW) is expected


def test_a_ledger_key_reads_what_it_wrote() -> None:
    key = LedgerKey.of("sub|1", PERIOD, "a=b")
    assert key.ledger_id == "sub|1#2026-11-01T00:00:00Z#a=b"
    assert LedgerKey.parse("sub|1", key.sort_key) == key


def test_behind_the_first_separator_stands_the_usage_type() -> None:
    assert LedgerKey.parse("sub-1", "2026-11-01T00:00:00Z#a#b") == LedgerKey("sub-1", "2026-11-01T00:00:00Z", "a#b")


def test_metadata_in_another_order_is_the_same_whichever_came_first() -> None:
    one, other = event(metadata={"b": 1, "a": 2}), event(metadata={"a": 2, "b": 1})
    assert head().append(one, NOW)[0].differences(other) == head().append(other, NOW)[0].differences(one) == ()


@pytest.mark.parametrize(
    ("event_id", "by_customer"),
    [
        pytest.param("customer:1", True, id="with the prefix"),
        pytest.param("customer", False, id="without the colon"),
        pytest.param("x-customer:1", False, id="with the prefix inside"),
    ],
)
def test_the_prefix_of_its_id_tells_an_event_that_a_customer_reported(event_id: str, by_customer: bool) -> None:
    assert event(event_id=event_id).reported_by_customer is by_customer


@pytest.mark.parametrize(
    ("billed_through", "is_settled"),
    [pytest.param(999, False, id="an entry is left"), pytest.param(1000, True, id="the last entry is billed")],
)
def test_a_ledger_is_settled_when_its_last_entry_is_billed(billed_through: int, is_settled: bool) -> None:
    current = replace(head(), last_sequence=int("1000"), billed_through=billed_through)
    assert current.is_settled is is_settled
