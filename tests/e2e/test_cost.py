"""Upper bounds for the DynamoDB calls and capacity units of recording, billing and reading usage."""

from datetime import timedelta
from decimal import Decimal

import pytest

from tests import ledgers
from tests.api import Context
from tests.builders import NOW, make_event, make_quota, make_subscription
from tests.e2e import in_process
from tests.e2e.in_process import bill
from tests.meter import Meter, metered
from tests.prices import LONG
from tests.quotas import save_quota
from tests.recording import record
from usage_billing.billing import ledger_settler, run_invocation, run_report_store
from usage_billing.kernel import shards as kernel_shards
from usage_billing.plans import store as quota_store
from usage_billing.platform import caches
from usage_billing.pricing.graduated_price import Graduated
from usage_billing.pricing.model import PriceModel
from usage_billing.pricing.tiers import Tier
from usage_billing.pricing.unit_price import UnitPriced
from usage_billing.subscriptions import store as subscription_store
from usage_billing.subscriptions.model import Subscription
from usage_billing.usage import store as ledger_store
from usage_billing.usage.admission import Admission
from usage_billing.usage.outcomes import Recorded
from usage_billing.usage.recording import record_all

EIGHT_TIERS = Graduated(
    (*(Tier(Decimal(n * 10**5), Decimal("0.0125"), Decimal(50)) for n in range(1, 8)), Tier(None, Decimal(1)))
)
METADATA = {"reportId": "abc123", "source": "report-service", "pages": 12}

pytestmark = pytest.mark.usefixtures("account")


def subscribe(subscription_id: str = "sub-1") -> Subscription:
    return in_process.subscribe(subscription_id, monthly_limit=5, unit_price="2.5")


def report(subscription: Subscription, name: str) -> Recorded:
    event = make_event(
        name,
        subscription_id=subscription.subscription_id,
        occurred_at=NOW.replace(hour=11),
        metadata=METADATA,
    )
    return record(event, NOW)


def test_recording_takes_one_read_and_one_transaction_of_five_units() -> None:
    subscription = subscribe()
    report(subscription, "e1")
    with metered() as meter:
        report(subscription, "e2")
    assert meter.calls == {"BatchGetItem": 1, "TransactWriteItems": 1}
    assert meter.write_units == 5  # the local cloud reports no read units: see tests/integration/test_batch_reads.py


def test_a_price_of_20_tiers_is_read_once_per_process_and_makes_no_event_dearer() -> None:
    subscription = subscribe()
    save_quota(make_quota(monthly_limit=5, price=LONG))
    report(subscription, "e1")
    caches.clear_all()
    for name, calls in (("e2", {"BatchGetItem": 1, "GetItem": 1}), ("e3", {"BatchGetItem": 1})):
        with metered() as meter:
            report(subscription, name)
        assert meter.calls == calls | {"TransactWriteItems": 1}
        assert meter.write_units == 5


@pytest.mark.parametrize("events", [99, 3 * 99])
def test_a_full_transaction_takes_about_three_units_per_event(events: int) -> None:
    report(subscribe(), "e1")
    batch = [make_event(f"many-{number}", occurred_at=NOW, metadata=METADATA) for number in range(events)]
    with metered() as meter:
        assert all(isinstance(each, Recorded) for each in record_all(batch, Admission(NOW)))
    assert meter.calls == {"BatchGetItem": 1, "TransactWriteItems": events // 99}
    assert meter.write_units / events <= 3.05


def test_opening_a_ledger_counts_the_ledgers_of_the_period_and_reads_the_quota() -> None:
    subscription = subscribe()
    with metered() as meter:
        report(subscription, "e1")
    # The ledgers of the period, and the version of the quota.
    assert meter.calls == {"BatchGetItem": 1, "Query": 2, "TransactWriteItems": 1}
    assert meter.write_units <= 6  # five as above, and one for the pending index


def test_a_version_takes_two_reads_and_four_units_of_writing_and_nothing_if_it_is_in_force() -> None:
    subscribe()
    change = make_quota(monthly_limit=1, effective_from=NOW)
    for calls, units in (({"GetItem": 1, "Query": 1, "TransactWriteItems": 1}, 4), ({"GetItem": 1, "Query": 1}, 0)):
        with metered() as meter:
            save_quota(change)
        assert meter.calls == calls
        assert (meter.read_units, meter.write_units) == (2, units)


def test_deleting_a_version_takes_two_reads_and_one_transaction_of_six_units() -> None:
    subscribe()
    planned = NOW + timedelta(days=1)
    save_quota(make_quota(monthly_limit=1, effective_from=planned))
    with metered() as meter:
        quota_store.delete_version("business", "assessment", planned, "key:test", lambda: NOW)
    assert meter.calls == {"GetItem": 2, "TransactWriteItems": 1}
    assert (meter.read_units, meter.write_units) == (2, 6)


def test_a_replay_writes_nothing() -> None:
    subscription = subscribe()
    report(subscription, "e1")
    before = ledgers.read()
    with metered() as meter:
        assert report(subscription, "e1").replayed
    assert meter.calls == {"BatchGetItem": 1, "TransactWriteItems": 1}
    assert ledgers.read() == before


@pytest.mark.parametrize("entries", [10, 300])
def test_settling_takes_one_read_and_one_transaction_for_any_number_of_entries(entries: int) -> None:
    subscription = subscribe()
    for number in range(entries):
        head = report(subscription, f"e{number}").head
    with metered() as meter:
        assert ledger_settler.settle_ledger(head.key, "run", lambda: NOW)
    assert meter.calls == {"GetItem": 1, "TransactWriteItems": 1}
    # Two units each for head, item and invoice, because they are in a transaction, and one for each sparse index.
    assert (meter.read_units, meter.write_units) == (1, 8)


def test_reading_the_usage_of_a_subscription_takes_one_query() -> None:
    subscription = subscribe()
    head = report(subscription, "e1").head
    with metered() as meter:
        assert ledger_store.heads("sub-1", head.period.key) == [head]
    assert meter.calls == {"Query": 1}


def run_over(changed: int, idle: int) -> Meter:
    """Measure a run over `changed` ledgers with new usage and `idle` ledgers without."""
    for number in range(idle):
        report(subscribe(f"idle-{number}"), "e1")
    bill()
    for number in range(changed):
        report(subscribe(f"changed-{number}"), "e1")
    with metered() as meter:
        assert bill().settled == changed
    return meter


@pytest.mark.parametrize("changed", [0, 20, 40])
def test_the_cost_of_a_run_depends_only_on_the_ledgers_with_new_usage(changed: int) -> None:
    """The heads of a shard are read in batches. Each head consumes the same unit as if it were read alone."""
    meter = run_over(changed=changed, idle=30)
    changes = [each.head for each in ledgers.read() if each.head["subscription_id"].startswith("changed")]
    shards = len({kernel_shards.shard_of(f"{head['subscription_id']}#{head['ledger']}") for head in changes})
    expected = {"Query": kernel_shards.SHARDS, "BatchGetItem": shards, "TransactWriteItems": changed}
    assert meter.calls == {name: calls for name, calls in expected.items() if calls}


@pytest.mark.parametrize("changed", [0, 20])
def test_the_cost_of_a_run_report_does_not_depend_on_the_number_of_ledgers(changed: int) -> None:
    """A report is listed, started and finished with one write unit each, and read once."""
    for number in range(changed):
        report(subscribe(f"changed-{number}"), "e1")
    with metered() as meter:
        assert run_invocation.start(None, Context()).settled == changed
    assert meter.calls["PutItem"] == 3
    assert meter.calls["Query"] == kernel_shards.SHARDS + 1
    with metered() as saving:
        run_report_store.add_to_list("run", NOW)
    assert (saving.write_units, saving.calls) == (1, {"PutItem": 1})


def test_a_quota_that_many_ledgers_lack_is_read_once() -> None:
    """The other reads are the heads, in batches, and the plan of each subscription."""
    for number in range(20):
        subscription = make_subscription(f"sub-{number}", plan_id="empty")
        subscription_store.save_subscription(subscription)
        report(subscription, "e1")
    with metered() as meter:
        assert bill().unrated == 20
    assert meter.calls["GetItem"] <= 20 + 1
    assert meter.calls["TransactWriteItems"] == 0


@pytest.mark.parametrize("price", [UnitPriced(Decimal("123456.123456789")), EIGHT_TIERS, LONG], ids=["unit", "8", "20"])
def test_a_head_and_a_typical_entry_take_less_than_a_kilobyte(price: PriceModel) -> None:
    """Also with a price of 8 tiers, which is copied into the head, and with one of 20, which the head refers to."""
    long = "i" * 40
    subscription = make_subscription(long, user_id=long, plan_id=long)
    subscription_store.save_subscription(subscription)
    quota = make_quota(
        long,
        plan_id=long,
        monthly_limit=999999999999,
        price=price,
        unit_name=long,
        minimum_charge="1234567.89",
        maximum_charge="999999999999.999999999",
    )
    save_quota(quota)
    event = make_event(
        long,
        "999999999999.999999999",
        user_id=long,
        subscription_id=long,
        usage_type=long,
        occurred_at=NOW,
        metadata=METADATA,
    )
    record(event, NOW)
    bill()
    [ledger] = ledgers.check()
    [head] = ledgers.rows("USAGE_SUMMARY_TABLE")
    assert head["terms"]["price"].startswith("sha256:" if price is LONG else "{")
    assert _bytes(head) < 1024
    assert _bytes(ledger.entries[0]) < 1024


def _bytes(value: object) -> int:
    """An upper bound of the size in DynamoDB: names and values as text."""
    if isinstance(value, dict):
        return sum(len(name) + _bytes(each) for name, each in value.items())
    return len(str(value))
