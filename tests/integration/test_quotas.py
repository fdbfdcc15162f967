"""Setting and reading quotas."""

import itertools
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest

from tests.api import Answer, Api, invalid_fields
from tests.bad_prices import BAD_PRICES, tiers
from tests.builders import quota_body
from tests.clocks import At
from tests.faults import FAULTS, Killed, When, conflict, watched
from tests.ledgers import clear, rows
from usage_billing.platform import retries

QUOTA = quota_body()
QUOTA_PATH = "/api/usage/quotas/business/assessment"
PREVIEW_PATH = "/api/usage/quotas/preview"

TIERS = [{"upTo": 100, "unitPrice": "1.00", "flatFee": "0"}, {"upTo": None, "unitPrice": 0.5, "flatFee": "12"}]
PRICES: dict[str, dict[str, Any]] = {
    "unit": {"unitPrice": None, "price": {"model": "unit", "unitPrice": "0.10"}},
    "graduated": {"unitPrice": None, "price": {"model": "graduated", "tiers": TIERS}},
    "volume": {"unitPrice": None, "price": {"model": "volume", "tiers": TIERS}},
    "package": {"unitPrice": None, "price": {"model": "package", "packageSize": 1000, "packagePrice": "5"}},
}
"""Fields of a request with a price of each model."""

SHOWN_TIERS = [
    {"upTo": 100, "unitPrice": "1.00", "flatFee": "0.00"},
    {"upTo": None, "unitPrice": "0.50", "flatFee": "12.00"},
]
SHOWN: dict[str, tuple[Any, str | None]] = {
    "unit": ({"model": "unit", "unitPrice": "0.10"}, "0.10"),
    "graduated": ({"model": "graduated", "tiers": SHOWN_TIERS}, None),
    "volume": ({"model": "volume", "tiers": SHOWN_TIERS}, None),
    "package": ({"model": "package", "packageSize": 1000, "packagePrice": "5.00"}, None),
}
"""The same in responses: `price` and `unitPrice`."""


def test_a_quota_reads_back_as_it_was_put(api: Api, at: At) -> None:
    at("2026-11-20T12:00:00.25Z")
    put = api.put(QUOTA_PATH, QUOTA)
    assert (put.status, put.json) == (200, {
        "planId": "business", "usageType": "assessment", "monthlyLimit": 50, "unitPrice": "10.00",
        "price": {"model": "unit", "unitPrice": "10.00"}, "minimumCharge": None, "maximumCharge": None,
        "unitName": "assessment", "currency": "USD", "effectiveFrom": "2026-11-20T12:00:16Z",
        "changedBy": "key:first", "changedAt": "2026-11-20T12:00:00.25Z", "next": None,
    })  # fmt: skip
    assert api.get(QUOTA_PATH).json == put.json
    assert api.get("/api/usage/quotas/business").json == {"quotas": [put.json]}


@pytest.mark.parametrize(
    ("price", "currency", "shown"),
    [
        pytest.param('"10.00"', "USD", "10.00", id="string"),
        pytest.param("10", "USD", "10.00", id="whole number"),
        pytest.param("10.5", "USD", "10.50", id="number"),
        pytest.param("0.1", "USD", "0.10", id="a number that no float represents exactly"),
        pytest.param("0.0033", "USD", "0.0033", id="a fraction of a cent"),
        pytest.param("1e-9", "USD", "0.000000001", id="the smallest price"),
        pytest.param("0", "USD", "0.00", id="nothing"),
        pytest.param('"100"', "JPY", "100", id="yen"),
        pytest.param('"1.5"', "KWD", "1.500", id="dinar"),
        pytest.param('"999999999999.999999999"', "EUR", "999999999999.999999999", id="the maximum number of digits"),
    ],
)
def test_a_unit_price_is_accepted_as_string_or_number_and_returned_as_string(
    api: Api, price: str, currency: str, shown: str
) -> None:
    raw = f'{{"monthlyLimit": 1, "unitPrice": {price}, "unitName": "u", "currency": "{currency}"}}'
    assert api.put(QUOTA_PATH, None, raw=raw).json["unitPrice"] == shown
    assert api.get(QUOTA_PATH).json["unitPrice"] == shown


@pytest.mark.parametrize("text", ["0", "0.5"])
def test_a_monthly_limit_can_be_zero_or_a_fraction(api: Api, text: str) -> None:
    raw = f'{{"monthlyLimit": {text}, "unitPrice": 1, "unitName": "u"}}'
    assert api.put(QUOTA_PATH, None, raw=raw).json["monthlyLimit"] == Decimal(text)
    assert api.get(QUOTA_PATH).json["monthlyLimit"] == Decimal(text)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        pytest.param({"monthlyLimit": -1}, "monthlyLimit", id="negative limit"),
        pytest.param({"monthlyLimit": "50"}, "monthlyLimit", id="limit as string"),
        pytest.param({"monthlyLimit": True}, "monthlyLimit", id="limit true"),
        pytest.param({"unitPrice": "-0.01"}, "unitPrice", id="negative price"),
        pytest.param({"unitPrice": "free"}, "unitPrice", id="price in words"),
        pytest.param({"unitPrice": None}, "unitPrice", id="price null"),
        pytest.param({"unitName": ""}, "unitName", id="no unit name"),
        pytest.param({"unitName": "a\nb"}, "unitName", id="unit name with a line break"),
        pytest.param({"currency": "ABC"}, "currency", id="unknown currency"),
        pytest.param({"currency": "usd"}, "currency", id="currency in lower case"),
        pytest.param({"currency": None}, "currency", id="currency null"),
        pytest.param({"planId": "enterprise"}, "planId", id="another plan than in the path"),
        pytest.param({"usageType": "report"}, "usageType", id="another usage type than in the path"),
        pytest.param({"overagePrice": 1}, "overagePrice", id="unknown field"),
        pytest.param({"changedBy": "admin-1"}, "changedBy", id="a field that only responses have"),
    ],
)
def test_an_invalid_quota_is_rejected_and_not_stored(api: Api, change: dict[str, Any], field: str) -> None:
    assert invalid_fields(api.put(QUOTA_PATH, QUOTA | change)) == [field]
    assert api.get(QUOTA_PATH).code == "quota_not_found"


def test_the_body_may_repeat_plan_and_usage_type(api: Api) -> None:
    assert api.put(QUOTA_PATH, QUOTA | {"planId": "business", "usageType": "assessment"}).status == 200


@pytest.mark.parametrize("price", [{}, *PRICES.values()], ids=["unit price", *PRICES])
def test_the_response_to_a_get_can_be_put_back_without_the_fields_that_only_responses_have(
    api: Api, price: dict[str, Any]
) -> None:
    put = api.put(QUOTA_PATH, QUOTA | price).json
    got = api.get(QUOTA_PATH).json
    again = {name: value for name, value in got.items() if name not in ("changedBy", "changedAt", "next")}
    assert api.put(QUOTA_PATH, again).json == put


@pytest.mark.parametrize("name", PRICES)
def test_a_price_of_every_model_reads_back_as_it_was_put(api: Api, name: str) -> None:
    put = api.put(QUOTA_PATH, QUOTA | PRICES[name])
    assert (put.status, put.json["price"], put.json["unitPrice"]) == (200, *SHOWN[name])
    assert api.get(QUOTA_PATH).json == put.json


def test_minimum_and_maximum_read_back_and_a_put_without_them_removes_them(api: Api) -> None:
    quota = QUOTA | {"effectiveFrom": "2026-01-01T00:00:00Z"}
    put = api.put(QUOTA_PATH, quota | {"minimumCharge": "5", "maximumCharge": 99.5}).json
    assert (put["minimumCharge"], put["maximumCharge"]) == ("5.00", "99.50")
    assert api.get(QUOTA_PATH).json == put
    put = api.put(QUOTA_PATH, quota).json
    assert (put["minimumCharge"], put["maximumCharge"]) == (None, None)
    assert api.get(QUOTA_PATH).json == put


@pytest.mark.parametrize(("change", "errors"), BAD_PRICES.values(), ids=BAD_PRICES)
def test_a_bad_price_is_refused_with_the_field_and_the_reason(
    api: Api, change: dict[str, Any], errors: dict[str, str]
) -> None:
    put = api.put(QUOTA_PATH, QUOTA | change)
    assert sorted(invalid_fields(put)) == sorted(errors)
    assert {error["field"]: error["message"] for error in put.json["errors"]} == errors
    assert api.get(QUOTA_PATH).code == "quota_not_found"
    preview = api.post(PREVIEW_PATH, {"quota": QUOTA | change, "quantities": [1]})
    assert invalid_fields(preview) == [f"quota.{name}" for name in invalid_fields(put)]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"minimumCharge": "10", "maximumCharge": "10"}, id="the minimum equals the maximum"),
        pytest.param({"maximumCharge": 0}, id="a maximum of nothing"),
        pytest.param(tiers(*range(1, 20), None), id="20 tiers"),
        pytest.param(tiers(None), id="one tier"),
        pytest.param(tiers(1e-9, 999999999999.9, None, unitPrice="999999999999.999999999"), id="extreme numbers"),
        pytest.param({"price": {"model": "unit", "unitPrice": 10}}, id="the same price twice"),
        pytest.param({"price": None}, id="a price null beside a unit price"),
    ],
)
def test_a_price_at_the_limit_is_accepted(api: Api, change: dict[str, Any]) -> None:
    assert api.put(QUOTA_PATH, QUOTA | change).status == 200


def test_all_quotas_of_a_plan_have_the_same_currency(api: Api) -> None:
    report = "/api/usage/quotas/business/report"
    api.put(QUOTA_PATH, QUOTA)
    answer = api.put(report, QUOTA | {"currency": "EUR"})
    assert (answer.status, answer.code) == (409, "plan_currency_mismatch")
    assert api.get(report).status == 404
    assert api.put("/api/usage/quotas/european/report", QUOTA | {"currency": "EUR"}).status == 200


def test_a_plan_keeps_the_currency_of_its_first_quota(api: Api) -> None:
    """Even while it has only one: there may already be a ledger or an invoice in that currency."""
    api.put(QUOTA_PATH, QUOTA)
    answer = api.put(QUOTA_PATH, QUOTA | {"currency": "EUR"})
    assert (answer.status, answer.code) == (409, "plan_currency_mismatch")
    assert api.get(QUOTA_PATH).json["currency"] == "USD"
    assert api.put(QUOTA_PATH, QUOTA | {"unitPrice": "12.00"}).json["unitPrice"] == "12.00"


def put_in_euros(api: Api, usage_type: str) -> Answer:
    return api.put(f"/api/usage/quotas/business/{usage_type}", QUOTA | {"currency": "EUR"})


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("plan_is_new", [True, False])
def test_when_two_currencies_race_for_a_plan_one_is_rejected(api: Api, when: When, plan_is_new: bool) -> None:
    """At each call of a PUT in turn, another PUT of a quota in another currency comes in between."""
    others: list[Answer] = []

    def put_other(_: object) -> None:
        others.append(put_in_euros(api, "analysis"))

    for number in itertools.count(1):
        clear()
        if not plan_is_new:
            api.plan(usage_type="report")
        others.clear()
        with watched() as calls:
            calls.at(number, when, put_other)
            answer = api.put(QUOTA_PATH, QUOTA)
        quotas = api.get("/api/usage/quotas/business").json["quotas"]
        assert len({quota["currency"] for quota in quotas}) == 1, quotas
        if not others:
            break
        assert {answer.status, others[0].status} == {200, 409}
        assert {answer.code, others[0].code} == {None, "plan_currency_mismatch"}
    assert number >= 2


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("error", [*FAULTS.values(), None], ids=[*FAULTS, "conflict"])
def test_a_put_that_failed_at_any_call_can_be_repeated(
    api: Api, when: When, error: Callable[[], BaseException] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0)
    for number in itertools.count(1):
        clear()
        with watched() as calls:
            if error:
                calls.fail(number, when, error)
            else:
                calls.at(number, "before", conflict)
            with suppress(Killed):
                assert api.put(QUOTA_PATH, QUOTA).status in (200, 503)
            made = len(calls.made)
        stored = api.get("/api/usage/quotas/business").json["quotas"]
        other = put_in_euros(api, "analysis")
        assert other.status == (409 if stored else 200), "the quota and its plan's currency are written together"
        again = api.put(QUOTA_PATH, QUOTA)
        assert again.status == (200 if stored else 409)
        if made < number:
            break
    assert number >= 2


def test_the_row_with_the_currency_of_a_plan_is_not_a_quota(api: Api) -> None:
    api.plan(usage_type="plan")
    assert [quota["usageType"] for quota in api.get("/api/usage/quotas/business").json["quotas"]] == ["plan"]
    assert len(rows("USAGE_QUOTA_TABLE")) == 2
    for name in ("%23plan", "%23", "#plan"):
        assert api.get(f"/api/usage/quotas/business/{name}").status in (404, 422)
        assert api.put(f"/api/usage/quotas/business/{name}", QUOTA).status in (404, 422)


def test_a_plan_without_quotas_has_an_empty_list(api: Api) -> None:
    assert api.get("/api/usage/quotas/nothing").json == {"quotas": []}


def test_quotas_are_listed_by_usage_type_in_pages(api: Api) -> None:
    for usage_type in ("report", "analysis", "assessment"):
        api.plan(usage_type=usage_type)
    api.plan("enterprise", "zebra")
    whole = api.get("/api/usage/quotas/business").json
    assert [quota["usageType"] for quota in whole["quotas"]] == ["analysis", "assessment", "report"]
    assert "nextCursor" not in whole
    assert api.walk("/api/usage/quotas/business", "quotas", limit=1) == [[quota] for quota in whole["quotas"]]
    assert api.walk("/api/usage/quotas/business", "quotas", limit=2) == [whole["quotas"][:2], whole["quotas"][2:]]
    assert api.walk("/api/usage/quotas/business", "quotas", limit=3) == [whole["quotas"]]


# --- Preview ---


def preview(api: Api, quantities: list[Any], **quota: Any) -> Answer:
    answer = api.post(PREVIEW_PATH, {"quota": QUOTA | quota, "quantities": quantities})
    assert answer.status == 200, answer.text
    return answer


def test_a_preview_shows_what_quantities_cost_and_how(api: Api) -> None:
    answer = preview(api, [0, 50, 150.5, 160], **PRICES["graduated"], maximumCharge="100")
    assert (answer.json["unitName"], answer.json["currency"]) == ("assessment", "USD")
    nothing, included, into_the_second_tier, maximum = answer.json["charges"]
    assert nothing == {"quantity": 0, "includedQuantity": 0, "billableQuantity": 0, "charge": "0.00", "amount": "0.00",
                       "lines": []}  # fmt: skip
    assert included == nothing | {"quantity": 50, "includedQuantity": 50}
    line = {"kind": "usage", "packageSize": None}
    first = line | {"quantity": 100, "unitPrice": "1.00", "flatFee": "0.00", "amount": "100.00"}
    second = line | {"quantity": Decimal("0.5"), "unitPrice": "0.50", "flatFee": "12.00", "amount": "12.25"}
    to_the_maximum = line | {"kind": "maximum", "quantity": 0, "unitPrice": "0.00"}
    assert into_the_second_tier == {
        "quantity": Decimal("150.5"), "includedQuantity": 50, "billableQuantity": Decimal("100.5"),
        "charge": "100.00", "amount": "100.00",
        "lines": [first, second, to_the_maximum | {"flatFee": "-12.25", "amount": "-12.25"}],
    }  # fmt: skip
    assert [(each["kind"], each["amount"]) for each in maximum["lines"]] == [
        ("usage", "100.00"), ("usage", "17.00"), ("maximum", "-17.00")]  # fmt: skip


def test_a_preview_shows_exact_charges_beside_rounded_amounts(api: Api) -> None:
    [charge] = preview(api, [51.5], unitPrice="0.0033").json["charges"]
    assert (charge["charge"], charge["amount"], charge["lines"][0]["amount"]) == ("0.00495", "0.00", "0.00495")


def test_a_preview_contains_the_minimum_as_if_the_period_were_closed(api: Api) -> None:
    nothing, above = preview(api, [0, 60], minimumCharge="30").json["charges"]
    assert (nothing["amount"], above["amount"]) == ("30.00", "100.00")
    assert [(line["kind"], line["flatFee"]) for line in nothing["lines"]] == [("minimum", "30.00")]
    assert [line["kind"] for line in above["lines"]] == ["usage"]


def test_a_preview_of_packages_counts_packages(api: Api) -> None:
    [charge] = preview(api, [1051], **PRICES["package"]).json["charges"]
    assert charge["lines"] == [{"kind": "usage", "quantity": 2, "unitPrice": "5.00", "flatFee": "0.00",
                                "packageSize": 1000, "amount": "10.00"}]  # fmt: skip


def test_a_preview_writes_and_reads_nothing(api: Api) -> None:
    with watched() as calls:
        preview(api, [1], planId="business", usageType="assessment")
    assert calls.made == []
    assert rows("USAGE_QUOTA_TABLE") == []


@pytest.mark.parametrize(
    ("quantities", "field"),
    [
        pytest.param([], "quantities", id="none"),
        pytest.param(list(range(101)), "quantities", id="more than 100"),
        pytest.param([1, -1], "quantities.1", id="a negative one"),
        pytest.param(["1"], "quantities.0", id="text"),
        pytest.param(None, "quantities", id="null"),
    ],
)
def test_a_preview_names_the_quantity_that_it_refuses(api: Api, quantities: Any, field: str) -> None:
    assert invalid_fields(api.post(PREVIEW_PATH, {"quota": QUOTA, "quantities": quantities})) == [field]
