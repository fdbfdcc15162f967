"""Nothing is recorded by what was read five seconds ago or earlier: it is read again first."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import inf
from typing import Any

import pytest

from tests import ledgers
from tests.api import Api
from tests.batches import send_batch, statuses
from tests.builders import event_body, make_quota
from tests.clocks import StartClocks, stop_start_clocks
from tests.faults import hooked
from tests.queue import consume, queue_message, queue_messages, take_messages
from tests.quotas import save_quota
from usage_billing.platform import retries
from usage_billing.platform.start_times import MAX_READ_SECONDS
from usage_billing.subscriptions import store as subscription_store
from usage_billing.subscriptions.model import SubscriptionStatus
from usage_billing.usage.append_with_retries import MAX_IMPATIENT_ATTEMPTS

pytestmark = pytest.mark.usefixtures("no_pauses")

RECORDS = ["BatchGetItem", "TransactWriteItems"]
OPENS = ["Query", "Query"]
"""What opening a ledger takes in addition: the number of ledgers in the period, and the quota."""


@pytest.fixture
def clocks(ready: Api, monkeypatch: pytest.MonkeyPatch) -> StartClocks:
    """Stopped clocks, and a ledger with an entry."""
    assert ready.record("first").status == 201
    return stop_start_clocks(monkeypatch)


@contextmanager
def after_each(operation: str, action: Callable[[], object], times: float = 1) -> Iterator[list[str]]:
    """Run an action after each of the next calls of an operation. Yield the list of all calls."""
    made: list[str] = []

    def before(model: Any, **_: object) -> None:
        made.append(model.name)

    def after(model: Any, **_: object) -> None:
        if model.name == operation and made.count(operation) <= times:
            action()

    with hooked(before, after):
        yield made


def pause() -> None:
    subscription_store.change_subscription(
        "sub-1", lambda seen: replace(seen, status=SubscriptionStatus.PAUSED) if seen else pytest.fail("no sub-1")
    )


def frozen(clocks: StartClocks) -> None:
    """Lambda freezes the process for minutes, while the monotonic clock stands still."""
    clocks.time_of_day += 300


def slow(clocks: StartClocks) -> None:
    clocks.pass_time(MAX_READ_SECONDS)


@pytest.mark.parametrize("delay", [slow, frozen])
def test_what_is_too_old_after_the_read_is_read_again(
    ready: Api, clocks: StartClocks, delay: Callable[[StartClocks], None]
) -> None:
    with after_each("BatchGetItem", lambda: delay(clocks)) as made:
        assert ready.record("e1").status == 201
    assert made == ["BatchGetItem", *RECORDS]


def test_what_was_read_just_in_time_is_written(ready: Api, clocks: StartClocks) -> None:
    with after_each("BatchGetItem", lambda: clocks.pass_time(MAX_READ_SECONDS - 0.5)) as made:
        assert ready.record("e1").status == 201
    assert made == RECORDS


def test_a_subscription_that_was_paused_during_a_freeze_takes_no_event(ready: Api, clocks: StartClocks) -> None:
    def freeze() -> None:
        frozen(clocks)
        pause()

    with after_each("BatchGetItem", freeze) as made:
        assert ready.record("e1").code == "subscription_inactive"
    assert "TransactWriteItems" not in made
    [ledger] = ledgers.check()
    assert ledger.head["used"] == 1


def test_a_quota_that_was_read_too_long_ago_is_read_again(ready: Api, clocks: StartClocks) -> None:
    save_quota(make_quota("report", monthly_limit=5))

    def correct_after_it_was_read() -> None:
        if made.count("Query") == len(OPENS):
            slow(clocks)
            save_quota(make_quota("report", monthly_limit=7))

    with after_each("Query", correct_after_it_was_read, len(OPENS)) as made:
        assert ready.record("e1", usageType="report").json["quota"]["limit"] == 7
    opening = ["BatchGetItem", *OPENS]
    assert made[: len(opening)] == opening
    assert made[-len(opening) - 1 :] == [*opening, "TransactWriteItems"]


def test_an_event_whose_reads_are_always_too_old_goes_to_the_queue(ready: Api, clocks: StartClocks) -> None:
    with after_each("BatchGetItem", lambda: slow(clocks), inf) as made:
        assert ready.record("e1").status == 202
        assert made == ["BatchGetItem"] * MAX_IMPATIENT_ATTEMPTS + ["SendMessageBatch"]
        made.clear()
        [message] = take_messages()
        made.clear()
        assert consume([message]) == [message["MessageId"]]
        assert made.count("BatchGetItem") == retries.MAX_ATTEMPTS
        assert "TransactWriteItems" not in made
    assert consume([message]) == []
    [ledger] = ledgers.check()
    assert ledger.head["used"] == 2


@pytest.mark.parametrize("queued", [False, True])
def test_a_long_series_of_transactions_builds_on_itself_until_the_read_is_too_old(
    ready: Api, clocks: StartClocks, queued: bool
) -> None:
    events = [event_body(f"e{number}") for number in range(4 * 99)]
    with after_each("TransactWriteItems", lambda: clocks.pass_time(2), inf) as made:
        if queued:
            assert consume(queue_messages(*events)) == []
        else:
            assert statuses(send_batch(ready, *events)) == ["recorded"] * len(events)
    # The fourth transaction would begin six seconds after the read.
    assert made == [*RECORDS, *["TransactWriteItems"] * 2, *RECORDS]
    [ledger] = ledgers.check()
    assert ledger.head["used"] == 1 + len(events)


def test_after_a_pause_the_rest_of_a_long_series_is_refused(ready: Api, clocks: StartClocks) -> None:
    events = [event_body(f"e{number}") for number in range(2 * 99)]

    def meanwhile() -> None:
        slow(clocks)
        pause()

    with after_each("TransactWriteItems", meanwhile):
        answer = send_batch(ready, *events)
    assert statuses(answer) == ["recorded"] * 99 + ["rejected"] * 99


def test_ledgers_that_wait_long_for_their_turn_are_read_again(ready: Api, clocks: StartClocks) -> None:
    """Three ledgers are read together and written one after the other."""
    for name in ("a", "b", "c"):
        ready.record(f"open-{name}", usageType=name)
    found = [queue_message(f"m-{name}", event_body(f"e-{name}", usageType=name)) for name in ("a", "b", "c")]
    with after_each("TransactWriteItems", lambda: slow(clocks), inf) as made:
        assert consume(found) == []
    reads = [number for number, name in enumerate(made) if name == "BatchGetItem"]
    assert len(reads) == 3, "once together, and then each alone whose turn came too late"
    assert made.count("TransactWriteItems") == 3
