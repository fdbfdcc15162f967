"""Recording many events on a ledger to which others write: wait until they are done, instead of retrying at once."""

from collections.abc import Sequence
from itertools import count
from math import inf

import pytest

from tests import ledgers
from tests.api import Api
from tests.builders import KEY, NOW, make_event
from tests.deadlines import scripted
from tests.faults import Calls, transaction_conflict, watched
from tests.recording import record
from usage_billing.kernel.errors import LedgerBusy
from usage_billing.platform.deadline import NEVER, Deadline
from usage_billing.platform.start_times import StartTime
from usage_billing.usage import append_with_retries, hot_ledgers, recording
from usage_billing.usage import store as ledger_store
from usage_billing.usage.admission import Admission
from usage_billing.usage.append_with_retries import MANY_ENTRIES
from usage_billing.usage.events import UsageEvent
from usage_billing.usage.outcomes import Outcome, Recorded


@pytest.fixture(autouse=True)
def opened(ready: Api) -> None:
    """A ledger with an entry."""
    record(event("first"), NOW)


def event(name: str) -> UsageEvent:
    return make_event(name, occurred_at=NOW)


def record_many(entries: int = MANY_ENTRIES, *, patient: bool = True, deadline: Deadline = NEVER) -> Sequence[Outcome]:
    events = [event(f"many-{number}") for number in range(entries)]
    return recording.record_all(events, Admission(NOW), patient=patient, deadline=deadline)


def append(names: Sequence[str]) -> None:
    """Append events to the ledger in one transaction, as another writer does."""
    head = ledger_store.head(KEY)
    assert head is not None
    entries, after = head.append_all([event(name) for name in names], NOW)
    ledger_store.append(head, entries, after, StartTime.now())


class Others:
    """Other writers, who append `entries` entries each time somebody waits for them, and stop after `times` times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, times: float, entries: int = MANY_ENTRIES) -> None:
        self.waited = 0
        self._names, self._times, self._entries = count(), times, entries
        monkeypatch.setattr(append_with_retries, "pause", lambda lost: None)
        monkeypatch.setattr(append_with_retries, "linger", self._write)

    def _write(self) -> None:
        self.waited += 1
        if self.waited <= self._times:
            append([f"other-{next(self._names)}" for _ in range(self._entries)])


def lose_first(calls: Calls, entries: int = MANY_ENTRIES) -> None:
    """Make the first transaction of `entries` entries fail with a conflict."""
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
def test_a_patient_writer_waits_until_the_others_are_done(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    others = Others(monkeypatch, times)
    with watched() as calls:
        lose_first(calls)
        assert recorded(record_many())
    assert (others.waited, transactions(calls)) == (times + 1, 2 + times)
    [ledger] = ledgers.check()
    assert len(ledger.entries) == 1 + MANY_ENTRIES * (1 + times)


def test_a_patient_writer_tries_anyway_if_the_others_never_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    others = Others(monkeypatch, inf)
    with watched() as calls:
        lose_first(calls)
        assert recorded(record_many())
    assert others.waited == append_with_retries.MAX_HEAD_READS
    assert transactions(calls) == 2 + append_with_retries.MAX_HEAD_READS
    ledgers.check()


def test_a_patient_writer_gives_up_at_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    others = Others(monkeypatch, inf)
    with watched() as calls:
        lose_first(calls)
        assert busy(record_many(deadline=scripted(lambda: 1 if others.waited < 3 else 0)))
    assert others.waited == 3
    [ledger] = ledgers.check()
    assert len(ledger.entries) == 1 + 3 * MANY_ENTRIES, "only the others' entries"


def test_an_impatient_writer_gives_up_if_the_ledger_is_still_changing(monkeypatch: pytest.MonkeyPatch) -> None:
    others = Others(monkeypatch, inf)
    with watched() as calls:
        lose_first(calls)
        assert busy(record_many(patient=False))
    assert (others.waited, transactions(calls)) == (1, 2), "one lost race, and the others' transaction"


def test_an_impatient_writer_retries_if_the_ledger_has_stopped_changing(monkeypatch: pytest.MonkeyPatch) -> None:
    Others(monkeypatch, 0)
    with watched() as calls:
        lose_first(calls)
        assert recorded(record_many(patient=False))
    assert transactions(calls) == 2
    ledgers.check()


def test_a_few_entries_are_retried_without_checking_the_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    others = Others(monkeypatch, 0)
    few = MANY_ENTRIES - 1
    with watched() as calls:
        lose_first(calls, few)
        assert recorded(record_many(few))
    assert (others.waited, transactions(calls)) == (0, 2)


def test_after_a_lost_race_the_ledger_is_checked_before_the_first_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(hot_ledgers, "monotonic", lambda: clock[0])
    others = Others(monkeypatch, 1)
    hot_ledgers.note_lost_race(KEY)
    clock[0] += hot_ledgers.HOT_SECONDS
    with watched() as calls:
        assert busy(record_many(patient=False))
        assert (others.waited, transactions(calls)) == (1, 1), "only the others' transaction"
        assert recorded(record_many(patient=False)), "checking the ledger does not count as a lost race"
        assert (others.waited, transactions(calls)) == (2, 2)
        clock[0] += hot_ledgers.CONTENDED_SECONDS - hot_ledgers.HOT_SECONDS
        assert all(isinstance(outcome, Recorded) and outcome.replayed for outcome in record_many(patient=False))
        assert others.waited == 2, "after a minute the ledger is not checked any more"
    ledgers.check()


@pytest.mark.parametrize("patient", [True, False])
def test_writers_of_few_entries_are_not_waited_for(monkeypatch: pytest.MonkeyPatch, patient: bool) -> None:
    others = Others(monkeypatch, inf, entries=2)
    with watched() as calls:
        lose_first(calls)
        assert recorded(record_many(patient=patient))
    assert (others.waited, transactions(calls)) == (1, 3)
    ledgers.check()


def test_without_a_lost_race_the_head_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    others = Others(monkeypatch, inf)
    with watched() as calls:
        assert recorded(record_many())
    assert others.waited == 0
    assert calls.made == ["BatchGetItem", "TransactWriteItems"]
