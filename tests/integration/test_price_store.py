"""Prices that are too long for ledgers to copy are stored once, and ledgers refer to them."""

import itertools
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal

import pytest
from botocore.exceptions import EndpointConnectionError

from tests import ledgers
from tests.api import Api
from tests.builders import NEW_YEAR, NOW, make_quota, quota_body
from tests.faults import FAULTS, Killed, When, watched
from tests.ledgers import clear, rows
from tests.prices import LONG
from tests.quotas import save_quota
from usage_billing.plans import price_store
from usage_billing.plans import store as quota_store
from usage_billing.platform import caches
from usage_billing.pricing.price_models import PRICE_MODELS
from usage_billing.pricing.tiers import Tier
from usage_billing.pricing.volume_price import Volume

QUOTA = make_quota(monthly_limit=0, price=LONG)
SHORT = Volume((Tier(Decimal(100), Decimal("0.0125"), Decimal(5)), Tier(None, Decimal("0.01"))))


def stored_prices() -> list[str]:
    return [row["price"] for row in rows("USAGE_QUOTA_TABLE") if row["version"] == "#price"]


@pytest.fixture
def long_priced(ready: Api) -> Api:
    """The plan `business` includes no reports, and has a price of 20 tiers for them."""
    body = quota_body("report", monthlyLimit=0, unitPrice=None, price=ready_price())
    assert ready.put("/api/usage/quotas/business/report", body).status == 200
    return ready


def ready_price() -> object:
    return LONG.shown("USD").model_dump(by_alias=True)


def test_usage_is_charged_and_billed_by_a_price_that_the_ledger_refers_to(long_priced: Api) -> None:
    for number, quantity in enumerate((5, 6, 500), 1):
        caches.clear_all()
        assert long_priced.record(f"e{number}", quantity, usageType="report").status == 201
        assert long_priced.bill().json["failures"] == 0
    usage = {each["usageType"]: each for each in long_priced.get("/api/usage/subscription/sub-1").json["usage"]}
    assert usage["report"]["charge"] == str(LONG.charge(Decimal(511)).quantize(Decimal("0.01")))
    [line] = [each for each in long_priced.invoice()["lines"] if each["usageType"] == "report"]
    assert (line["amount"], line["itemCount"]) == (usage["report"]["charge"], 3)
    ledgers.check()
    assert stored_prices() == [PRICE_MODELS.dumps(LONG)]


def test_a_ledger_keeps_its_price_when_the_quota_changes(long_priced: Api) -> None:
    long_priced.record("e1", 5, usageType="report")
    long_priced.plan(usage_type="report", limit=0, price=7)
    caches.clear_all()
    long_priced.record("e2", 10, usageType="report")
    assert long_priced.bill().json["failures"] == 0
    ledgers.check()


@pytest.mark.usefixtures("aws")
def test_a_short_price_is_copied_and_a_long_one_referred_to() -> None:
    save_quota(replace(QUOTA, price=SHORT))
    assert stored_prices() == []
    assert price_store.pinned(SHORT) == PRICE_MODELS.dumps(SHORT)
    assert price_store.price_of(price_store.pinned(SHORT)) == SHORT
    save_quota(QUOTA)
    reference = price_store.pinned(LONG)
    assert len(reference) < 80
    assert price_store.price_of(reference) == LONG


@pytest.mark.usefixtures("aws")
def test_the_limit_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, is_copied in ((len(PRICE_MODELS.dumps(SHORT)), True), (len(PRICE_MODELS.dumps(SHORT)) - 1, False)):
        monkeypatch.setattr(price_store, "MAX_PINNED_BYTES", limit)
        assert (price_store.pinned(SHORT) == PRICE_MODELS.dumps(SHORT)) == is_copied
        assert (price_store.stored_with_quota(SHORT) == []) == is_copied


@pytest.mark.usefixtures("aws")
def test_quotas_with_the_same_price_share_it_and_it_outlives_them() -> None:
    planned = NEW_YEAR.replace(year=2199)
    for version in (
        QUOTA,
        replace(QUOTA, plan_id="other"),
        replace(QUOTA, effective_from=planned, monthly_limit=Decimal(1)),
    ):
        save_quota(version)
    quota_store.delete_version("business", "assessment", planned, "admin-1", lambda: NOW)
    assert stored_prices() == [PRICE_MODELS.dumps(LONG)]
    assert [plan.plan_id for plan in quota_store.plans(None, 10)] == ["business", "other"]


@pytest.mark.usefixtures("aws")
def test_a_price_is_read_once_per_process(monkeypatch: pytest.MonkeyPatch) -> None:
    save_quota(QUOTA)
    caches.clear_all()
    reference = price_store.pinned(LONG)
    with watched() as calls:
        assert {price_store.price_of(reference) for _ in range(3)} == {LONG}
    assert calls.made == ["GetItem"]
    monkeypatch.setattr(price_store, "MAX_CACHED", 1)
    other = replace(LONG, tiers=LONG.tiers[1:])
    save_quota(replace(QUOTA, price=other))
    assert price_store.price_of(price_store.pinned(other)) == other
    assert list(price_store.cache) == [price_store.pinned(other)]


@pytest.mark.usefixtures("aws")
def test_a_reference_to_nothing_is_an_error() -> None:
    with pytest.raises(LookupError, match=r"the price sha256:[0-9a-f]{64} is not stored"):
        price_store.price_of(price_store.pinned(LONG))


def test_a_price_that_cannot_be_read_is_503_and_nothing_is_recorded(
    long_priced: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    long_priced.record("e1", 5, usageType="report")
    caches.clear_all()

    def fail(_: str) -> str:
        raise EndpointConnectionError(endpoint_url="https://dynamodb")

    with monkeypatch.context() as broken:
        broken.setattr(price_store, "_stored", fail)
        assert long_priced.record("e2", 5, usageType="report").code == "database_unavailable"
        assert long_priced.bill().json["failures"] == 1
    assert long_priced.record("e2", 5, usageType="report").status == 201
    assert long_priced.bill().json["failures"] == 0
    ledgers.check()


@pytest.mark.usefixtures("aws", "no_pauses")
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("error", FAULTS.values(), ids=FAULTS)
def test_a_price_is_stored_with_the_quota_or_neither_is(error: Callable[[], BaseException], when: When) -> None:
    for number in itertools.count(1):
        clear()
        caches.clear_all()
        with watched() as calls:
            calls.fail(number, when, error)
            with suppress(Killed, Exception):
                save_quota(QUOTA)
            made = len(calls.made)
        quotas = [row for row in rows("USAGE_QUOTA_TABLE") if row["version"].startswith("assessment#")]
        assert len(quotas) == len(stored_prices())
        save_quota(QUOTA)
        assert price_store.price_of(price_store.pinned(LONG)) == LONG
        if made < number:
            break
    assert number >= 3
