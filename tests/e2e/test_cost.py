"""What the work costs at DynamoDB, in calls and capacity units: the bounds that the bill rests on."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from tests import ledgers
from tests.api import Context
from tests.deadlines import stopped
from tests.meter import Meter, metered
from tests.recording import record
from usage_billing.billing import invocation, model, report_store, runner, settling
from usage_billing.kernel import shards as kernel_shards
from usage_billing.plans import store as quota_store
from usage_billing.plans.model import Quota
from usage_billing.pricing.unit import UnitPriced
from usage_billing.subscriptions import store as subscription_store
from usage_billing.subscriptions.model import Subscription
from usage_billing.usage import store as ledger_store
from usage_billing.usage.events import UsageEvent
from usage_billing.usage.recording import Recorded

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
METADATA = {"reportId": "abc123", "source": "report-service", "pages": 12}

pytestmark = pytest.mark.usefixtures("account")


def subscribe(name: str = "sub-1") -> Subscription:
    subscription = Subscription(subscription_id=name, user_id="user-1", plan_id="business")
    subscription_store.save_subscription(subscription)
    terms = {"monthly_limit": Decimal(5), "price": UnitPriced(Decimal("2.5")), "unit_name": "assessment"}
    quota_store.save_quota(Quota(plan_id="business", usage_type="assessment", **terms))
    return subscription


def report(subscription: Subscription, name: str) -> Recorded:
    event = UsageEvent(
        name, "user-1", subscription.subscription_id, "assessment", Decimal(1), NOW.replace(hour=11), METADATA
    )
    return record(event, subscription, NOW)


def bill() -> model.RunTotals:
    return runner.run(model.whole_run(), now=lambda: NOW, deadline=stopped(900), hand_over=pytest.fail)


def test_recording_takes_one_read_and_one_transaction_of_five_units() -> None:
    subscription = subscribe()
    report(subscription, "e1")
    with metered() as meter:
        report(subscription, "e2")
    assert meter.calls == {"GetItem": 1, "TransactWriteItems": 1}
    assert (meter.read_units, meter.write_units) == (1, 5)


def test_recording_with_a_known_subscription_reads_nothing_more() -> None:
    subscribe()
    subscription_store.recent_subscription("sub-1")
    with metered() as meter:
        subscription_store.recent_subscription("sub-1")
    assert not meter.calls


def test_opening_a_ledger_counts_the_others_and_reads_the_plan_and_its_quota_afresh() -> None:
    subscription = subscribe()
    with metered() as meter:
        report(subscription, "e1")
    assert meter.calls == {"GetItem": 3, "Query": 1, "TransactWriteItems": 1}
    assert meter.write_units <= 6  # five, and the pending index once


def test_a_replay_writes_nothing() -> None:
    subscription = subscribe()
    report(subscription, "e1")
    before = ledgers.read()
    with metered() as meter:
        assert report(subscription, "e1").replayed
    assert meter.calls == {"GetItem": 1, "TransactWriteItems": 1}
    assert ledgers.read() == before


@pytest.mark.parametrize("entries", [10, 300])
def test_settling_takes_one_read_and_one_transaction_whatever_the_entries(entries: int) -> None:
    subscription = subscribe()
    for number in range(entries):
        head = report(subscription, f"e{number}").head
    with metered() as meter:
        assert settling.settle_ledger(head.key, "run", lambda: NOW)
    assert meter.calls == {"GetItem": 1, "TransactWriteItems": 1}
    # Head, item and invoice twice, each as a part of a transaction; the two sparse indexes once.
    assert (meter.read_units, meter.write_units) == (1, 8)


def test_the_usage_of_a_subscription_is_one_query() -> None:
    subscription = subscribe()
    head = report(subscription, "e1").head
    with metered() as meter:
        assert ledger_store.heads("sub-1", head.period.key) == [head]
    assert meter.calls == {"Query": 1}


def run_over(changed: int, idle: int) -> Meter:
    """What a run costs with so many ledgers that changed since the last one, and so many that did not."""
    for number in range(idle):
        report(subscribe(f"idle-{number}"), "e1")
    bill()
    for number in range(changed):
        report(subscribe(f"changed-{number}"), "e1")
    with metered() as meter:
        assert bill().settled == changed
    return meter


@pytest.mark.parametrize("changed", [0, 20, 40])
def test_a_run_costs_what_changed_and_nothing_else(changed: int) -> None:
    """Heads are read shard by shard, many with one call; each costs the same unit as if it were read alone."""
    meter = run_over(changed=changed, idle=30)
    changes = [each.head for each in ledgers.read() if each.head["subscription_id"].startswith("changed")]
    shards = len({kernel_shards.shard_of(f"{head['subscription_id']}#{head['ledger']}") for head in changes})
    expected = {"Query": kernel_shards.SHARDS, "BatchGetItem": shards, "TransactWriteItems": changed}
    assert meter.calls == {name: calls for name, calls in expected.items() if calls}


@pytest.mark.parametrize("changed", [0, 20])
def test_the_report_of_a_run_costs_the_same_whatever_it_settles(changed: int) -> None:
    """Beside the run itself: it is listed, begun and ended, one unit each, and read once."""
    for number in range(changed):
        report(subscribe(f"changed-{number}"), "e1")
    with metered() as meter:
        assert invocation.start(None, Context()).settled == changed
    assert meter.calls["PutItem"] == 3
    assert meter.calls["Query"] == kernel_shards.SHARDS + 1
    with metered() as saving:
        report_store.enlist("run", NOW)
    assert (saving.write_units, saving.calls) == (1, {"PutItem": 1})


def test_many_ledgers_that_wait_for_one_quota_read_it_once() -> None:
    """Their heads are read, many with one call, and the plan of each subscription."""
    for number in range(20):
        subscription = Subscription(subscription_id=f"sub-{number}", user_id="user-1", plan_id="empty")
        subscription_store.save_subscription(subscription)
        report(subscription, "e1")
    with metered() as meter:
        assert bill().unrated == 20
    assert meter.calls["GetItem"] <= 20 + 1
    assert meter.calls["TransactWriteItems"] == 0


def test_a_head_and_an_ordinary_entry_stay_below_a_kilobyte() -> None:
    long = "i" * 40
    subscription = Subscription(subscription_id=long, user_id=long, plan_id=long)
    subscription_store.save_subscription(subscription)
    terms = {
        "monthly_limit": Decimal(999999999999),
        "price": UnitPriced(Decimal("123456.123456789")),
        "unit_name": long,
    }
    quota_store.save_quota(Quota(plan_id=long, usage_type=long, **terms))
    quantity = Decimal("999999999999.999999999")
    record(UsageEvent(long, long, long, long, quantity, NOW, METADATA), subscription, NOW)
    bill()
    [ledger] = ledgers.check()
    assert _bytes(ledger.head) < 1024
    assert _bytes(ledger.entries[0]) < 1024


def _bytes(value: object) -> int:
    """More than DynamoDB counts: names and values as text."""
    if isinstance(value, dict):
        return sum(len(name) + _bytes(each) for name, each in value.items())
    return len(str(value))
