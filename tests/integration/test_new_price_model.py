"""Adding a price model takes one file and one entry in the registry. The API, billing and reading then use it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from fractions import Fraction
from math import ceil
from typing import Any, ClassVar, Literal, Self

import pytest

from tests import charges, contract, ledgers
from tests.api import Api, invalid_fields
from usage_billing.apidocs import openapi
from usage_billing.kernel.fields import UnitPrice
from usage_billing.kernel.money import with_minor_digits
from usage_billing.pricing.model import PriceFields
from usage_billing.pricing.price_lines import PriceLine
from usage_billing.pricing.price_models import PRICE_MODELS

# --- The file ---


class DozenPrice(PriceFields):
    """Each dozen costs `dozenPrice`, also one that is only started."""

    model: Literal["dozen"]
    dozen_price: UnitPrice

    def price(self) -> "PricedByDozen":
        return PricedByDozen(self.dozen_price)


@dataclass(frozen=True, slots=True)
class PricedByDozen:
    dozen_price: Decimal

    kind: ClassVar[str] = "dozen"
    fields: ClassVar[type[PriceFields]] = DozenPrice
    unit_price: ClassVar[None] = None
    bounds: ClassVar[tuple[Decimal, ...]] = (Decimal(12),)

    def charge(self, quantity: Decimal) -> Decimal:
        return self._dozens(quantity) * self.dozen_price

    def lines(self, quantity: Decimal) -> tuple[PriceLine, ...]:
        line = PriceLine(self._dozens(quantity), self.dozen_price, package_size=Decimal(12))
        return (line,) if quantity else ()

    def _dozens(self, quantity: Decimal) -> Decimal:
        return (quantity / 12).to_integral_value(ROUND_CEILING)

    def shown(self, currency: str) -> DozenPrice:
        return DozenPrice.model_construct(model="dozen", dozen_price=with_minor_digits(self.dozen_price, currency))

    def parameters(self) -> dict[str, Any]:
        return {"dozenPrice": self.dozen_price}

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Self:
        return cls(Decimal(parameters["dozenPrice"]))


# --- The tests ---

QUOTA = {"monthlyLimit": 2, "price": {"model": "dozen", "dozenPrice": "3.5"}, "unitName": "egg"}


def charge_by_dozen(quantity: Fraction, **price: Decimal) -> Fraction:
    return Fraction(ceil(quantity / 12) * price["dozenPrice"])


@pytest.fixture
def by_dozen(ready: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """The plan `business` includes 2 eggs and charges 3.50 USD for each started dozen of overage."""
    monkeypatch.setitem(PRICE_MODELS.kinds, PricedByDozen.kind, PricedByDozen)
    monkeypatch.setitem(charges.CHARGES, PricedByDozen.kind, charge_by_dozen)
    caches = (openapi.routes, openapi.document, contract._literal_first)
    for each in caches:
        each.cache_clear()
    assert ready.put("/api/usage/quotas/business/egg", QUOTA).status == 200
    yield ready
    for each in caches:
        each.cache_clear()


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


def test_usage_and_quotas_show_the_new_model_and_no_unit_price(by_dozen: Api) -> None:
    by_dozen.record("a", quantity=3, usageType="egg")
    usage = {each["usageType"]: each for each in by_dozen.get("/api/usage/subscription/sub-1").json["usage"]}
    assert (usage["egg"]["charge"], usage["egg"]["unitPrice"]) == ("3.50", None)
    quota = by_dozen.get("/api/usage/quotas/business/egg").json
    assert (quota["unitPrice"], quota["price"]) == (None, {"model": "dozen", "dozenPrice": "3.50"})


def test_requests_with_the_new_model_are_checked_and_previewed(by_dozen: Api) -> None:
    bad = QUOTA | {"price": {"model": "dozen", "dozenPrice": "-1"}}
    assert invalid_fields(by_dozen.put("/api/usage/quotas/business/egg", bad)) == ["price.dozenPrice"]
    answer = by_dozen.post("/api/usage/quotas/preview", {"quota": QUOTA, "quantities": [27]})
    [charge] = answer.json["charges"]
    assert charge["amount"] == "10.50"
    assert [(line["quantity"], line["packageSize"]) for line in charge["lines"]] == [(3, 12)]


def test_the_api_reference_describes_the_new_model(by_dozen: Api) -> None:
    schemas = openapi.document()["components"]["schemas"]
    assert schemas["DozenPrice"]["required"] == ["model", "dozenPrice"]
    assert {"$ref": "#/components/schemas/DozenPrice"} in schemas["Quota"]["properties"]["price"]["oneOf"]
