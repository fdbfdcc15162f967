"""Billing: what is charged, on which invoice, and what stays pending after a failure."""

import logging
from decimal import Decimal
from typing import Any

import pytest

from tests.api import Api
from tests.builders import quota_body
from tests.clocks import At
from tests.ledgers import check, unsettled
from usage_billing.platform.tables import InvoiceTable

NOTHING = {"status": "completed", "ledgersSettled": 0, "itemsCreated": 0, "failures": 0, "ledgersUnrated": 0,
           "totals": {}}  # fmt: skip


def run_billing(api: Api, **scope: str) -> dict[str, Any]:
    """Run billing. Return the response without the id of the run."""
    answer = api.bill(**scope)
    assert answer.status == 200, answer.text
    assert len(answer.json["runId"]) == 32
    return {name: value for name, value in answer.json.items() if name != "runId"}


def invoices(api: Api, subscription: str = "sub-1") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get("/api/invoices", query={"subscriptionId": subscription}).json["invoices"]
    return found


def put_quota_in_euros(api: Api, plan: str = "european", usage_type: str = "report") -> None:
    body = quota_body("report", monthlyLimit=0, unitPrice="2.00", currency="EUR")
    assert api.put(f"/api/usage/quotas/{plan}/{usage_type}", body).status == 200


def finalize(subscription: str, period_start: str) -> None:
    invoice = InvoiceTable.get(subscription, period_start)
    invoice.update([InvoiceTable.status.set("finalized"), InvoiceTable.draft.remove()])


def test_a_run_with_nothing_to_do_reports_zeros(ready: Api) -> None:
    assert run_billing(ready) == run_billing(ready, subscriptionId="sub-1") == NOTHING
    assert ready.get("/api/invoices", query={"subscriptionId": "sub-1"}).json == {"invoices": []}


@pytest.mark.parametrize("raw", [None, "", "{}", "null", '{"subscriptionId": null}'], ids=repr)
def test_without_a_subscription_id_everything_is_billed(ready: Api, raw: str | None) -> None:
    ready.record(quantity=51)
    assert ready.post("/api/usage/process-billing", raw=raw).json["totals"] == {"USD": "10.00"}


def test_every_field_of_an_invoice_and_its_items(ready: Api, at: At) -> None:
    at("2026-11-20T12:00:00Z")
    ready.plan(usage_type="report", limit=5, price="0.125")
    ready.record("e1", 45)
    ready.record("e2", 20)
    ready.record("e3", 6, usageType="report")
    at("2026-11-21T00:00:00Z")
    run_id = ready.bill().json["runId"]
    expected = {
        "invoiceId": "sub-1-20261101T000000Z",
        "subscriptionId": "sub-1",
        "userId": "user-1",
        "status": "draft",
        "periodStart": "2026-11-01T00:00:00Z",
        "periodEnd": "2026-12-01T00:00:00Z",
        "currency": "USD",
        "total": "150.13",
        "itemCount": 2,
    }
    month = {"periodStart": "2026-11-01T00:00:00Z", "periodEnd": "2026-12-01T00:00:00Z"}
    lines = [
        {
            "usageType": "assessment",
            **month,
            "unitName": "assessment",
            "quantity": 15,
            "unitPrice": "10.00",
            "amount": "150.00",
            "itemCount": 1,
        },
        {
            "usageType": "report",
            **month,
            "unitName": "report",
            "quantity": 1,
            "unitPrice": "0.125",
            "amount": "0.13",
            "itemCount": 1,
        },
    ]
    items = {
        "items": [
            {
                "itemId": "2026-11-01T00:00:00Z#assessment#000000000000002",
                "usageType": "assessment",
                **month,
                "description": "15 x assessment beyond the 50 included",
                "quantity": 15,
                "unitPrice": "10.00",
                "amount": "150.00",
                "fromSequence": 1,
                "toSequence": 2,
                "runId": run_id,
                "createdAt": "2026-11-21T00:00:00Z",
            },
            {
                "itemId": "2026-11-01T00:00:00Z#report#000000000000001",
                "usageType": "report",
                **month,
                "description": "1 x report beyond the 5 included",
                "quantity": 1,
                "unitPrice": "0.125",
                "amount": "0.13",
                "fromSequence": 1,
                "toSequence": 1,
                "runId": run_id,
                "createdAt": "2026-11-21T00:00:00Z",
            },
        ],
    }
    assert ready.get("/api/invoices/sub-1-20261101T000000Z").json == expected | {"lines": lines}
    assert ready.get("/api/invoices/sub-1-20261101T000000Z/items").json == items
    assert ready.get("/api/invoices", query={"subscriptionId": "sub-1"}).json == {"invoices": [expected]}


def test_included_usage_is_settled_without_an_item(ready: Api) -> None:
    ready.record(quantity=50)
    assert run_billing(ready) == NOTHING | {"ledgersSettled": 1}
    assert invoices(ready) == []
    assert run_billing(ready) == NOTHING


def test_each_run_bills_the_usage_since_the_previous_run(ready: Api) -> None:
    for number, quantity in enumerate([40, 20, 5], 1):
        ready.record(f"e{number}", quantity)
        ready.bill()
    [invoice] = invoices(ready)
    assert [(item["quantity"], item["amount"], item["fromSequence"], item["toSequence"]) for item in ready.items()] \
        == [(10, "100.00", 2, 2), (5, "50.00", 3, 3)]  # fmt: skip
    assert invoice["total"] == "150.00"
    check()


@pytest.mark.parametrize(
    ("price", "currency", "quantities", "amounts", "total"),
    [
        pytest.param("0.004", "USD", [1, 1, 1], ["0.00", "0.01", "0.00"], "0.01", id="less than half a cent each"),
        pytest.param("0.005", "USD", [1, 1, 1], ["0.01", "0.00", "0.01"], "0.02", id="half a cent each"),
        pytest.param("0.3333", "USD", [1, 1, 1], ["0.33", "0.34", "0.33"], "1.00", id="a third"),
        pytest.param("0.5", "JPY", [1, 1, 1], ["1", "0", "1"], "2", id="half a yen each"),
        pytest.param("10.005", "USD", ["0.1", "0.2", "0.7"], ["1.00", "2.00", "7.01"], "10.01", id="fractions"),
    ],
)
def test_items_of_several_runs_add_up_to_the_rounded_charge(
    ready: Api, *, price: str, currency: str, quantities: list[Any], amounts: list[str], total: str
) -> None:
    body = {"monthlyLimit": 0, "unitPrice": price, "unitName": "u", "currency": currency}
    assert ready.put("/api/usage/quotas/tiny/assessment", body).status == 200
    ready.subscribe(plan="tiny")
    for number, quantity in enumerate(quantities):
        ready.record(f"e{number}", Decimal(quantity))
        ready.bill()
    [invoice] = invoices(ready)
    assert [item["amount"] for item in ready.items()] == amounts
    assert [line["amount"] for line in ready.invoice()["lines"]] == [total]
    assert invoice["total"] == total
    [usage] = ready.get("/api/usage/subscription/sub-1").json["usage"]
    assert usage["charge"] == total
    check()


def test_totals_are_kept_per_currency(ready: Api) -> None:
    put_quota_in_euros(ready)
    ready.subscribe("sub-2", "user-2", "european")
    ready.record("e1", 60)
    ready.record("e2", 3, subscriptionId="sub-2", userId="user-2", usageType="report")
    assert run_billing(ready)["totals"] == {"EUR": "6.00", "USD": "100.00"}
    assert [(invoices(ready, name)[0]["currency"], invoices(ready, name)[0]["total"]) for name in ("sub-1", "sub-2")] \
        == [("USD", "100.00"), ("EUR", "6.00")]  # fmt: skip


def test_a_run_for_one_subscription_bills_no_other(ready: Api) -> None:
    ready.subscribe("sub-2")
    ready.record("e1", 60)
    ready.record("e2", 60, subscriptionId="sub-2")
    assert run_billing(ready, subscriptionId="sub-2") == NOTHING | {
        "ledgersSettled": 1, "itemsCreated": 1, "totals": {"USD": "100.00"}}  # fmt: skip
    assert invoices(ready) == []
    assert run_billing(ready)["ledgersSettled"] == 1


def test_a_run_for_one_subscription_bills_all_its_ledgers(ready: Api, at: At) -> None:
    at("2026-11-20T12:00:00Z")
    ready.plan(usage_type="report", limit=0)
    for number, (usage_type, day) in enumerate([("assessment", "10-01"), ("report", "10-01"), ("report", "11-01")]):
        ready.record(f"e{number}", 51, usageType=usage_type, occurredAt=f"2026-{day}T00:00:00Z")
    assert run_billing(ready, subscriptionId="sub-1")["ledgersSettled"] == 3


def test_a_run_for_an_unknown_subscription_is_404_and_bills_nothing(ready: Api) -> None:
    ready.record(quantity=60)
    answer = ready.bill(subscriptionId="nothing")
    assert (answer.status, answer.code) == (404, "subscription_not_found")
    assert invoices(ready) == []


@pytest.mark.parametrize("status", ["paused", "canceled"])
def test_usage_of_an_inactive_subscription_is_billed(ready: Api, status: str) -> None:
    ready.record(quantity=60)
    ready.subscribe(status=status)
    assert run_billing(ready)["totals"] == {"USD": "100.00"}


def test_late_usage_is_on_the_invoice_of_its_period(ready: Api, at: At) -> None:
    at("2026-12-02T00:00:00Z")
    ready.record("e1", 60, occurredAt="2026-11-30T23:59:59.999Z")
    ready.record("e2", 70, occurredAt="2026-12-01T00:00:00Z")
    ready.bill()
    assert [(invoice["periodStart"][:10], invoice["total"]) for invoice in invoices(ready)] == [
        ("2026-12-01", "200.00"), ("2026-11-01", "100.00")]  # fmt: skip


def test_invoices_are_listed_newest_first_in_pages(ready: Api, at: At) -> None:
    at("2026-11-20T00:00:00Z")
    for month in (8, 11, 9, 10):
        ready.record(f"e{month}", 51, occurredAt=f"2026-{month:02d}-05T00:00:00Z")
    ready.bill()
    whole = invoices(ready)
    assert [invoice["periodStart"][5:7] for invoice in whole] == ["11", "10", "09", "08"]
    for limit, pages in [(1, [1, 1, 1, 1]), (3, [3, 1]), (4, [4])]:
        walked = ready.walk("/api/invoices", "invoices", limit=limit, subscriptionId="sub-1")
        assert [len(page) for page in walked] == pages
        assert [invoice for page in walked for invoice in page] == whole


def test_a_finalized_invoice_gets_no_more_items_and_does_not_block_others(
    ready: Api, at: At, caplog: pytest.LogCaptureFixture
) -> None:
    at("2026-11-20T12:00:00Z")
    ready.subscribe("sub-2")
    ready.record("e1", 60)
    ready.bill()
    finalize("sub-1", "2026-11-01T00:00:00Z")
    ready.record("e2", 5)
    ready.record("e3", 51, subscriptionId="sub-2")
    caplog.set_level(logging.INFO)
    assert run_billing(ready) == NOTHING | {
        "ledgersSettled": 1, "itemsCreated": 1, "failures": 1, "totals": {"USD": "10.00"}}  # fmt: skip
    assert "invoice_not_draft" in [getattr(record, "code", None) for record in caplog.records]
    [invoice] = invoices(ready)
    assert (invoice["status"], invoice["total"], invoice["itemCount"]) == ("finalized", "100.00", 1)
    assert len(list(unsettled(check()))) == 1, "the charge stays pending"
    assert ready.get("/api/usage/subscription/sub-1").json["usage"][0]["billedQuantity"] == 10


def test_included_usage_is_settled_even_if_the_invoice_is_finalized(ready: Api, at: At) -> None:
    at("2026-11-20T12:00:00Z")
    ready.plan(usage_type="report", limit=5)
    ready.record("e1", 60)
    ready.bill()
    finalize("sub-1", "2026-11-01T00:00:00Z")
    ready.record("e2", 5, usageType="report")
    assert run_billing(ready) == NOTHING | {"ledgersSettled": 1}


def test_a_charge_in_another_currency_than_the_invoice_stays_pending(
    ready: Api, caplog: pytest.LogCaptureFixture
) -> None:
    """The subscription moves to a plan in another currency in the middle of a period."""
    put_quota_in_euros(ready)
    ready.record("e1", 60)
    ready.bill()
    ready.subscribe(plan="european")
    ready.record("e2", 3, usageType="report")
    assert run_billing(ready) == NOTHING | {"failures": 1}
    assert "invoice_currency_mismatch" in [getattr(record, "code", None) for record in caplog.records]
    [invoice] = invoices(ready)
    assert (invoice["currency"], invoice["total"]) == ("USD", "100.00")
    assert len(list(unsettled(check()))) == 1


def test_unrated_ledgers_are_counted_but_are_not_failures(api: Api) -> None:
    api.subscribe()
    api.record("e1", 60)
    api.record("e2", 60, usageType="report")
    assert run_billing(api) == NOTHING | {"ledgersUnrated": 2}
    api.plan()
    assert run_billing(api) == NOTHING | {
        "ledgersSettled": 1, "itemsCreated": 1, "ledgersUnrated": 1, "totals": {"USD": "100.00"}}  # fmt: skip
    check()


def test_a_ledger_whose_subscription_is_missing_fails_alone(api: Api) -> None:
    from usage_billing.platform.tables import SubscriptionTable

    api.subscribe("sub-2")
    api.record("e1", 60, subscriptionId="sub-2")
    api.plan()
    api.subscribe()
    api.record("e2", 60)
    SubscriptionTable.get("sub-2").delete()
    assert run_billing(api) == NOTHING | {
        "ledgersSettled": 1,
        "itemsCreated": 1,
        "failures": 1,
        "totals": {"USD": "100.00"},
    }


def test_an_invoice_is_not_created_until_something_is_charged(ready: Api) -> None:
    ready.record(quantity=50)
    ready.bill()
    answer = ready.get("/api/invoices/sub-1-20261101T000000Z")
    assert (answer.status, answer.code) == (404, "invoice_not_found")
