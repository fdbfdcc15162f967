"""Adding a price model takes one class and one entry in the registry. Billing and reading then use it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Decimal
from fractions import Fraction
from math import ceil
from typing import Any, ClassVar, Self

import pytest

from tests import ledgers
from tests.api import Api
from tests.builders import make_quota
from tests.quotas import save_quota
from usage_billing.pricing.price_lines import PriceLine
from usage_billing.pricing.price_models import PRICE_MODELS


@dataclass(frozen=True, slots=True)
class PricedByDozen:
    """A price per dozen. A started dozen counts as a full one."""

    dozen_price: Decimal

    kind: ClassVar[str] = "dozen"
    unit_price: ClassVar[None] = None

    def charge(self, quantity: Decimal) -> Decimal:
        return (quantity / 12).to_integral_value(ROUND_CEILING) * self.dozen_price

    def lines(self, quantity: Decimal) -> tuple[PriceLine, ...]:
        raise NotImplementedError("no reader shows price lines yet")

    def parameters(self) -> dict[str, Any]:
        return {"dozenPrice": self.dozen_price}

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Self:
        return cls(Decimal(parameters["dozenPrice"]))


def charge_by_dozen(quantity: Fraction, **price: Decimal) -> Fraction:
    return Fraction(ceil(quantity / 12) * price["dozenPrice"])


@pytest.fixture
def by_dozen(ready: Api, monkeypatch: pytest.MonkeyPatch) -> Api:
    """The plan `business` includes 2 eggs and charges 3.50 USD for each started dozen of overage."""
    monkeypatch.setitem(PRICE_MODELS._kinds, PricedByDozen.kind, PricedByDozen)
    monkeypatch.setitem(ledgers.CHARGES, PricedByDozen.kind, charge_by_dozen)
    price = PricedByDozen(Decimal("3.50"))
    save_quota(replace(make_quota("egg", monthly_limit=2), price=price))
    return ready


def test_usage_is_charged_and_billed_by_the_new_model(by_dozen: Api) -> None:
    by_dozen.record("a", quantity=3, usageType="egg")
    assert by_dozen.bill().json["totals"] == {"USD": "3.50"}
    by_dozen.record("b", quantity=11, usageType="egg")
    assert by_dozen.bill().json["totals"] == {"USD": "0.00"}, "still the first dozen"
    by_dozen.record("c", quantity=1, usageType="egg")
    assert by_dozen.bill().json["totals"] == {"USD": "3.50"}
    [line] = by_dozen.invoice()["lines"]
    assert (line["amount"], line["quantity"], line["itemCount"], line["unitPrice"]) == ("7.00", 13, 3, None)
    items = by_dozen.items()
    assert [(item["amount"], item["quantity"]) for item in items] == [("3.50", 1), ("0.00", 11), ("3.50", 1)]
    assert {item["unitPrice"] for item in items} == {None}
    records = by_dozen.get("/api/usage/subscription/sub-1/records").json["records"]
    assert [record["invoiceItemId"] for record in records] == [item["itemId"] for item in items]
    ledgers.check()


def test_usage_and_quotas_show_no_unit_price(by_dozen: Api) -> None:
    by_dozen.record("a", quantity=3, usageType="egg")
    usage = {each["usageType"]: each for each in by_dozen.get("/api/usage/subscription/sub-1").json["usage"]}
    assert (usage["egg"]["charge"], usage["egg"]["unitPrice"]) == ("3.50", None)
    assert by_dozen.get("/api/usage/quotas/business/egg").json["unitPrice"] is None
