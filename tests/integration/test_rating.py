"""Unrated ledgers in a run: each missing quota is looked up, logged and counted once, however many ledgers need it."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest

from tests.api import Api
from tests.faults import watched
from tests.ledgers import check, unsettled
from tests.logs import log_records
from tests.metrics import Metrics
from usage_billing.billing import store as settlement_store
from usage_billing.billing import unrated_ledgers
from usage_billing.billing.model import Unrated
from usage_billing.billing.unrated_ledgers import Rating
from usage_billing.kernel.errors import SubscriptionNotFound
from usage_billing.plans import store as quota_store
from usage_billing.platform.tables import SubscriptionTable
from usage_billing.usage import store as ledger_store

LEDGERS = 8


@pytest.fixture
def unrated(api: Api) -> Api:
    """Ledgers of two usage types without a quota, of subscriptions on two plans."""
    for number in range(LEDGERS):
        api.subscribe(f"sub-{number}", plan=f"plan-{number % 2}")
        for usage_type in ("report", "analysis"):
            api.record(f"{usage_type}-{number}", subscriptionId=f"sub-{number}", usageType=usage_type)
    return api


def watch_lookups(lookups: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    version_for = quota_store.version_for

    def look(plan_id: str, usage_type: str, period_start: datetime) -> Any:
        lookups.append((plan_id, usage_type))
        return version_for(plan_id, usage_type, period_start)

    monkeypatch.setattr(quota_store, "version_for", look)


def test_a_missing_quota_is_looked_up_logged_and_counted_once_per_run(
    unrated: Api, metrics: Metrics, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lookups: list[tuple[str, str]] = []
    watch_lookups(lookups, monkeypatch)
    metrics()
    with watched() as calls:
        assert unrated.bill().json["ledgersUnrated"] == 2 * LEDGERS
    expected = {(f"plan-{plan}", usage_type) for plan in (0, 1) for usage_type in ("report", "analysis")}
    assert sorted(lookups) == sorted(expected)
    assert calls.made.count("GetItem") <= len(expected) + LEDGERS + len(expected), "each subscription about once"
    assert metrics()["QuotaMissing"] == len(expected), "counted by plan and usage type, not by ledger"
    lines = log_records(caplog, "quota missing")
    logged = [(line["plan_id"], line["usage_type"], line["ledgers"]) for line in lines if "ledgers" in line]
    assert logged == [(*name, LEDGERS // 2) for name in sorted(expected)]


def test_a_new_quota_rates_all_ledgers_that_waited_for_it(unrated: Api) -> None:
    unrated.bill()
    for plan in (0, 1):
        for usage_type in ("report", "analysis"):
            unrated.plan(f"plan-{plan}", usage_type, limit=0)
    answer = unrated.bill().json
    assert (answer["ledgersSettled"], answer["ledgersUnrated"], answer["failures"]) == (2 * LEDGERS, 0, 0)
    assert list(unsettled(check())) == []


def test_quotas_that_exist_are_read_again_for_each_ledger(unrated: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quota or a plan that changes during a run takes effect for the remaining ledgers."""
    unrated.plan("plan-0", "report", limit=0, price="1")
    lookups: list[tuple[str, str]] = []
    watch_lookups(lookups, monkeypatch)
    unrated.bill()
    assert lookups.count(("plan-0", "report")) == LEDGERS // 2
    assert lookups.count(("plan-1", "report")) == 1


def test_a_plan_change_during_a_run_takes_effect_in_the_next_run_at_the_latest(unrated: Api) -> None:
    unrated.plan("plan-new", "report", limit=0)
    rating_ = Rating()
    [head] = [each for each in heads("sub-0") if each.key.usage_type == "report"]
    with pytest.raises(Unrated, match="the plan plan-0 has no quota for report"):
        rating_.rated(head)
    unrated.subscribe("sub-0", plan="plan-new")
    with pytest.raises(Unrated):
        rating_.rated(head)
    terms = Rating().rated(head).terms
    assert terms
    assert terms.plan_id == "plan-new"


def heads(subscription_id: str) -> list[Any]:
    return [ledger_store.head(key) for key in settlement_store.pending_of(subscription_id)]


def test_a_failed_lookup_is_repeated_for_the_next_ledger(unrated: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    rating_, [head] = Rating(), [each for each in heads("sub-0") if each.key.usage_type == "report"]
    with monkeypatch.context() as failing:
        failing.setattr(quota_store, "version_for", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            rating_.rated(head)
    with pytest.raises(Unrated):
        rating_.rated(head)
    unrated.plan("plan-0", "report")
    with pytest.raises(Unrated):
        rating_.rated(head)


def test_a_missing_subscription_fails_only_its_own_ledgers(unrated: Api) -> None:
    SubscriptionTable.get("sub-3").delete()
    answer = unrated.bill().json
    assert (answer["failures"], answer["ledgersUnrated"]) == (2, 2 * LEDGERS - 2)
    with pytest.raises(SubscriptionNotFound):
        Rating().rated(heads("sub-3")[0])


def test_threads_that_need_the_same_missing_quota_look_it_up_once(
    unrated: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookups: list[tuple[str, str]] = []
    release = threading.Event()

    def slow(plan_id: str, usage_type: str, _: datetime) -> None:
        lookups.append((plan_id, usage_type))
        release.wait(10)

    monkeypatch.setattr(quota_store, "version_for", slow)
    rating_, [head] = Rating(), [each for each in heads("sub-0") if each.key.usage_type == "report"]
    rating_._remember("sub-0", "plan-0")

    def rate() -> None:
        with pytest.raises(Unrated):
            rating_.rated(head)

    with ThreadPoolExecutor(8) as pool:
        rates = [pool.submit(rate) for _ in range(8)]
        while not lookups:
            pass
        release.set()
        for each in rates:
            each.result(10)
    assert lookups == [("plan-0", "report")]


def test_the_number_of_remembered_plans_is_limited(unrated: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unrated_ledgers, "MAX_PLANS", 2)
    assert unrated.bill().json["ledgersUnrated"] == 2 * LEDGERS


@pytest.fixture(autouse=True)
def _logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
