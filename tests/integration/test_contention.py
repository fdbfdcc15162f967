"""Many events at stake on a ledger that others fill: it is looked at until they are done, not fought over."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from math import inf

import pytest

from tests import ledgers
from tests.api import Api
from tests.deadlines import scripted
from tests.faults import Calls, transaction_conflict, watched
from tests.recording import record
from usage_billing.kernel.errors import LedgerBusy
from usage_billing.platform.deadline import NEVER, Deadline
from usage_billing.subscriptions import store as subscription_store
from usage_billing.usage import appending, hot_ledgers, recording
from usage_billing.usage import store as ledger_store
from usage_billing.usage.appending import MANY_ENTRIES
from usage_billing.usage.events import UsageEvent
from usage_billing.usage.ledger import LedgerKey
from usage_billing.usage.outcomes import Outcome, Recorded

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
KEY = LedgerKey("sub-1", "2026-11-01T00:00:00Z", "assessment")


@pytest.fixture(autouse=True)
def opened(ready: Api) -> None:
    """A ledger with an entry."""
    record(event("first"), subscription_store.subscription("sub-1"), NOW)


def event(name: str) -> UsageEvent:
    return UsageEvent(name, "user-1", "sub-1", "assessment", Decimal(1), NOW)


def record_many(entries: int = MANY_ENTRIES, *, patient: bool = True, deadline: Deadline = NEVER) -> Sequence[Outcome]:
    events = [event(f"many-{number}") for number in range(entries)]
    return recording.record_all(events, subscription_store.subscription, NOW, patient=patient, deadline=deadline)


def append(names: Sequence[str]) -> None:
    """What others do to the ledger, in one transaction."""
    head = ledger_store.head(KEY)
    assert head is not None
    entries, after = head.append_all([event(name) for name in names], NOW)
    ledger_store.append(head, entries, after)


class Others:
    """Write `entries` to the ledger `times` times, each time that somebody waits for them to be done; then they are."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, times: float, entries: int = MANY_ENTRIES) -> None:
        self.waited = 0
        self._names, self._times, self._entries = count(), times, entries
        monkeypatch.setattr(appending, "pause", lambda lost: None)
        monkeypatch.setattr(appending, "linger", self._write)

    def _write(self) -> None:
        self.waited += 1
        if self.waited <= self._times:
            append([f"other-{next(self._names)}" for _ in range(self._entries)])


def lose_first(calls: Calls, entries: int = MANY_ENTRIES) -> None:
    """Let the first transaction of many entries meet another one."""
    lost: list[bool] = []

    def is_first(parameters: dict[str, object]) -> bool:
        items = parameters.get("TransactItems")
        if not lost and isinstance(items, list) and len(items) == entries + 1:
            lost.append(True)
            return True
        return False

    calls.fail_where(is_first, lambda: transaction_conflict(entries + 1))


def transactions(calls: Calls) -> int:
    return calls.made.count("TransactWriteItems")


def recorded(outcomes: Sequence[Outcome]) -> bool:
    return all(isinstance(outcome, Recorded) for outcome in outcomes)


def busy(outcomes: Sequence[Outcome]) -> bool:
    return all(isinstance(outcome, LedgerBusy) for outcome in outcomes)


@pytest.mark.parametrize("times", [0, 3])
def test_the_patient_wait_until_the_others_are_done(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    others = Others(monkeypatch, times)
    with watched() as calls:
        lose_first(calls)
        assert recorded(record_many())
    assert (others.waited, transactions(calls)) == (times + 1, 2 + times)
    [ledger] = ledgers.check()
    assert len(ledger.entries) == 1 + MANY_ENTRIES * (1 + times)


def test_the_patient_try_all_the_same_when_the_others_never_end(monkeypatch: pytest.MonkeyPatch) -> None:
    others = Others(monkeypatch, inf)
    with watched() as calls:
        lose_first(calls)
        assert recorded(record_many())
    assert others.waited == appending.MAX_HEAD_READS
    assert transactions(calls) == 2 + appending.MAX_HEAD_READS
    ledgers.check()


def test_the_patient_stop_looking_when_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    others = Others(monkeypatch, inf)
    with watched() as calls:
        lose_first(calls)
        assert busy(record_many(deadline=scripted(lambda: 1 if others.waited < 3 else 0)))
    assert others.waited == 3
    [ledger] = ledgers.check()
    assert len(ledger.entries) == 1 + 3 * MANY_ENTRIES, "only the others' entries"


def test_the_impatient_look_once_and_leave_a_moving_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    others = Others(monkeypatch, inf)
    with watched() as calls:
        lose_first(calls)
        assert busy(record_many(patient=False))
    assert (others.waited, transactions(calls)) == (1, 2), "one lost race, and the others' transaction"


def test_the_impatient_try_again_where_it_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    Others(monkeypatch, 0)
    with watched() as calls:
        lose_first(calls)
        assert recorded(record_many(patient=False))
    assert transactions(calls) == 2
    ledgers.check()


def test_few_entries_are_tried_again_without_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    others = Others(monkeypatch, 0)
    few = MANY_ENTRIES - 1
    with watched() as calls:
        lose_first(calls, few)
        assert recorded(record_many(few))
    assert (others.waited, transactions(calls)) == (0, 2)


def test_who_lost_here_lately_looks_before_the_first_try(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(hot_ledgers, "monotonic", lambda: clock[0])
    others = Others(monkeypatch, 1)
    hot_ledgers.note_lost_race(KEY)
    clock[0] += hot_ledgers.HOT_SECONDS
    with watched() as calls:
        assert busy(record_many(patient=False))
        assert (others.waited, transactions(calls)) == (1, 1), "only the others' transaction"
        assert recorded(record_many(patient=False)), "a look is no lost race: nobody is taken for hot by it"
        assert (others.waited, transactions(calls)) == (2, 2)
        clock[0] += hot_ledgers.CONTENDED_SECONDS - hot_ledgers.HOT_SECONDS
        assert all(outcome.replayed for outcome in record_many(patient=False))
        assert others.waited == 2, "a minute later nobody looks"
    ledgers.check()


@pytest.mark.parametrize("patient", [True, False])
def test_single_events_of_others_are_no_reason_to_wait(monkeypatch: pytest.MonkeyPatch, patient: bool) -> None:
    others = Others(monkeypatch, inf, entries=2)
    with watched() as calls:
        lose_first(calls)
        assert recorded(record_many(patient=patient))
    assert (others.waited, transactions(calls)) == (1, 3)
    ledgers.check()


def test_a_ledger_without_a_lost_race_is_not_looked_at_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    others = Others(monkeypatch, inf)
    with watched() as calls:
        assert recorded(record_many())
    assert others.waited == 0
    assert calls.made.count("GetItem") == 2, "the subscription and the head"
