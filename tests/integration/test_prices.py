"""Charges and invoices of ledgers with every price model, from the quota to the lines."""

from decimal import Decimal
from typing import Any

import pytest

from tests import ledgers
from tests.api import Api
from tests.builders import quota_body
from tests.prices import EXAMPLES
from usage_billing.pricing.model import PriceModel

USED = ("3", "7", "15.5", "0.000000001", "40", "400")


def priced(api: Api, price: Any, **more: Any) -> Api:
    """The plan `business` includes 2 units of `report`, and has this price for more."""
    body = quota_body("report", monthlyLimit=2, unitPrice=None, price=price, **more)
    assert api.put("/api/usage/quotas/business/report", body).status == 200
    return api


def usage_of_reports(api: Api) -> Any:
    [found] = [each for each in api.get("/api/usage/subscription/sub-1").json["usage"] if each["usageType"] == "report"]
    return found


@pytest.mark.parametrize("maximum", [None, "30"])
@pytest.mark.parametrize("price", EXAMPLES, ids=lambda price: price.kind)
def test_a_ledger_that_is_billed_after_every_event_adds_up(ready: Api, price: PriceModel, maximum: str | None) -> None:
    priced(ready, price.shown("USD").model_dump(by_alias=True), maximumCharge=maximum)
    for number, quantity in enumerate(USED):
        assert ready.record(f"e{number}", Decimal(quantity), usageType="report").status == 201
        run = ready.bill().json
        assert run["failures"] == 0
        [ledger] = ledgers.check()
        charge = usage_of_reports(ready)["charge"]
        assert Decimal(charge) == Decimal(ledger.head["billed_amount"])
    lines = [line for invoice in ready.get("/api/invoices", query={"subscriptionId": "sub-1"}).json["invoices"]
             for line in ready.get(f"/api/invoices/{invoice['invoiceId']}").json["lines"]]  # fmt: skip
    assert sum((Decimal(line["amount"]) for line in lines), Decimal(0)) == Decimal(charge)
    assert maximum is None or Decimal(charge) <= Decimal(maximum)


def test_an_item_takes_back_what_a_volume_price_charged_too_much(ready: Api) -> None:
    tiers = [{"upTo": 10, "unitPrice": "2.00"}, {"upTo": None, "unitPrice": "0.50", "flatFee": "3.00"}]
    priced(ready, {"model": "volume", "tiers": tiers})
    ready.record("e1", 12, usageType="report")
    assert ready.bill().json["totals"] == {"USD": "20.00"}
    ready.record("e2", 1, usageType="report")
    assert ready.bill().json["totals"] == {"USD": "-11.50"}
    assert [item["amount"] for item in ready.items()] == ["20.00", "-11.50"]
    assert ready.invoice()["total"] == "8.50"
    assert usage_of_reports(ready)["charge"] == "8.50"
    ledgers.check()


def test_a_ledger_costs_no_more_than_its_maximum_and_keeps_it(ready: Api) -> None:
    priced(ready, {"model": "unit", "unitPrice": "10.00"}, maximumCharge="25")
    for number, total in enumerate(["10.00", "20.00", "25.00", "25.00"], 1):
        ready.record(f"e{number}", 3 if number == 1 else 1, usageType="report")
        ready.bill()
        assert ready.invoice()["total"] == total
        if number == 2:
            ready.plan(usage_type="report", limit=2, price="10.00")  # without a maximum, from the next period on
    ledgers.check()
