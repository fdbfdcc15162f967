"""Outcomes of recording: an event of a batch gets exactly one, and a replay shows the quota as it was."""

from dataclasses import replace
from decimal import Decimal

import pytest

from tests.builders import NOW, make_event, make_head
from usage_billing.kernel.errors import LedgerBusy
from usage_billing.usage.ledger import QuotaState
from usage_billing.usage.outcomes import PendingEvent, Recorded


def recorded(*, replayed: bool = False) -> Recorded:
    entry, head = make_head().append(make_event(quantity=20), NOW)
    return Recorded(entry, head, replayed)


def test_an_event_has_the_outcome_that_resolved_it() -> None:
    pending, outcome = PendingEvent(make_event("e1")), recorded()
    states = [pending.is_resolved]
    pending.resolve(outcome)
    assert [*states, pending.is_resolved] == [False, True]
    assert pending.outcome is outcome
    assert pending.event == make_event("e1")


def test_an_event_without_an_outcome_is_not_forgotten() -> None:
    with pytest.raises(RuntimeError, match=r"^the event e1 was not resolved$"):
        _ = PendingEvent(make_event("e1")).outcome


def test_an_event_that_was_recorded_cannot_be_refused_afterwards() -> None:
    pending, outcome = PendingEvent(make_event("e1")), recorded()
    pending.resolve(outcome)
    with pytest.raises(RuntimeError, match=r"^the event e1 was resolved twice$"):
        pending.resolve(LedgerBusy("Too many concurrent writes."))
    assert pending.outcome is outcome


def test_an_event_that_was_refused_cannot_be_recorded_afterwards() -> None:
    pending, outcome = PendingEvent(make_event("e1")), LedgerBusy("Too many concurrent writes.")
    pending.resolve(outcome)
    with pytest.raises(RuntimeError, match=r"^the event e1 was resolved twice$"):
        pending.resolve(recorded())
    assert pending.outcome is outcome


def test_the_quota_of_an_outcome_is_the_one_after_its_entry() -> None:
    first = recorded()
    later = replace(first, head=first.head.append(make_event("e2", quantity=70), NOW)[1], replayed=True)
    assert later.head.used == Decimal(90)
    assert later.quota == first.quota == QuotaState(Decimal(20), Decimal(50), Decimal(30), False)
