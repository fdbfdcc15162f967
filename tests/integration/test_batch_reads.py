"""Items that are read together. What DynamoDB leaves unprocessed is requested again, and never seems to be missing."""

from typing import Any

import pytest

from tests import ledgers
from tests.api import Api
from tests.batches import error_codes, send_batch, statuses
from tests.builders import KEY, event_body
from tests.clocks import stop_start_clocks
from tests.faults import Unprocessed, watched
from tests.meter import metered
from tests.metrics import Metrics
from tests.queue import consume, dead, queue_messages
from usage_billing.platform import batch_reads
from usage_billing.platform.batch_reads import KeysNotRead, read_together
from usage_billing.platform.tables import SubscriptionTable, UsageSummaryTable
from usage_billing.usage import store as ledger_store

pytestmark = pytest.mark.usefixtures("no_pauses")

SUBSCRIPTION = {"subscription_id": "sub-1"}
HEAD = {"subscription_id": "sub-1", "ledger": KEY.sort_key}


def is_subscription(table: str, key: dict[str, Any]) -> bool:
    return set(key) == {"subscription_id"}


def is_head(table: str, key: dict[str, Any]) -> bool:
    return "ledger" in key


def is_entry(table: str, key: dict[str, Any]) -> bool:
    return "event_id" in key


def anything(table: str, key: dict[str, Any]) -> bool:
    return True


EACH = pytest.mark.parametrize("which", [is_subscription, is_head, anything])


@pytest.fixture
def opened(ready: Api) -> Api:
    """A ledger with an entry."""
    assert ready.record("first").status == 201
    return ready


def test_items_of_several_tables_are_read_in_one_consistent_call(opened: Api) -> None:
    requests: list[dict[str, Any]] = []
    missing = {"subscription_id": "unheard-of"}
    with watched() as calls:
        calls.at(1, "before", requests.append)
        rows = read_together({SubscriptionTable: [SUBSCRIPTION, missing], UsageSummaryTable: [HEAD]})
    assert calls.made == ["BatchGetItem"]
    assert all(asked["ConsistentRead"] for asked in requests[0]["RequestItems"].values())
    assert {type(row) for row in rows} == {SubscriptionTable, UsageSummaryTable}
    assert len(rows) == 2, "an item that does not exist is left out"


@EACH
@pytest.mark.parametrize("times", [1, 3])
def test_what_is_left_unprocessed_is_requested_again(opened: Api, which: Any, times: int) -> None:
    with Unprocessed(which, times) as left:
        assert opened.record("e1").json["sequence"] == 2
    first, *again = left.requested
    asked_again = [key for key in first if which("", key)]
    assert again == [asked_again] * times, "and nothing else"
    ledgers.check()


@EACH
def test_what_stays_unprocessed_is_neither_missing_nor_empty(opened: Api, which: Any, metrics: Metrics) -> None:
    metrics()
    with Unprocessed(which) as left:
        answer = opened.record("e1")
        assert (answer.status, answer.code) == (503, "database_unavailable")
        assert answer.headers["Retry-After"] == "1"
        assert len(left.requested) == batch_reads.MAX_REQUESTS
        assert metrics()["DatabaseFailures"] == 1
        batch = send_batch(opened, event_body("e1"), event_body("e2", usageType="report"))
        assert error_codes(batch) == ["database_unavailable"] * 2
        assert consume(queue_messages(event_body("e3"))) == ["m0"]
    assert dead() == []
    [ledger] = ledgers.check()
    assert ledger.head["used"] == 1, "nothing was written"
    assert opened.record("e1").status == 201


def test_an_unknown_subscription_is_reported_only_if_it_was_looked_up(ready: Api) -> None:
    with Unprocessed(is_subscription):
        assert ready.record("e1", subscriptionId="unheard-of").status == 503
    assert ready.record("e1", subscriptionId="unheard-of").status == 404


def test_an_entry_that_was_not_read_is_not_refused(opened: Api) -> None:
    opened.subscribe(status="canceled")
    with Unprocessed(is_entry, 1):
        assert opened.record("first").status == 200
        assert opened.record("other").code == "subscription_inactive"
    with Unprocessed(is_entry):
        assert opened.record("first").status == 503
        assert opened.record("other").status == 503


def test_heads_that_stay_unprocessed_are_read_one_by_one_by_a_run(opened: Api) -> None:
    with Unprocessed(is_head):
        with pytest.raises(KeysNotRead):
            ledger_store.heads_of([KEY])
        totals = opened.bill().json
    assert (totals["ledgersSettled"], totals["failures"]) == (1, 0)


def test_the_rest_is_not_requested_once_the_first_items_are_too_old(
    opened: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks = stop_start_clocks(monkeypatch)

    def slow(table: str, key: dict[str, Any]) -> bool:
        clocks.pass_time(1)
        return True

    with Unprocessed(slow) as left, pytest.raises(KeysNotRead, match="2 keys"):
        ledger_store.read_ledgers([KEY])
    assert len(left.requested) == 3, "each takes a second for each of two keys"


# --- Units. The local cloud does not report those of batch reads. ---


def test_recording_reads_two_units(opened: Api) -> None:
    with metered() as meter:
        assert opened.record("e1").status == 201
    assert meter.calls == {"BatchGetItem": 1, "TransactWriteItems": 1}
    assert meter.read_units == 2


LEDGERS = [("sub-1", "a"), ("sub-1", "b"), ("sub-2", "a")]


@pytest.mark.parametrize("queued", [False, True])
def test_a_batch_reads_each_subscription_and_each_ledger_once(ready: Api, queued: bool) -> None:
    ready.subscribe("sub-2")
    for name, usage_type in LEDGERS:
        ready.plan(usage_type=usage_type)
        ready.record(f"open-{usage_type}", subscriptionId=name, usageType=usage_type)
    events = [
        event_body(f"{usage_type}-{number}", subscriptionId=name, usageType=usage_type)
        for number in range(33)
        for name, usage_type in LEDGERS
    ]
    with metered() as meter:
        if queued:
            assert consume(queue_messages(*events)) == []
        else:
            assert statuses(send_batch(ready, *events)) == ["recorded"] * 99
    assert meter.calls == {"BatchGetItem": 1, "TransactWriteItems": 3}
    assert meter.read_units == 2 + 3
    assert [ledger.head["used"] for ledger in ledgers.check()] == [34] * 3


def test_a_refused_event_reads_one_more_unit(opened: Api) -> None:
    opened.subscribe(status="paused")
    with metered() as meter:
        assert opened.record("e1").status == 409
    assert (meter.calls, meter.read_units) == ({"BatchGetItem": 2}, 3)
