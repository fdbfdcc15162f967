"""Reading usage and records: every field, every page, every period."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from tests.api import Api

At = Callable[[str], None]
NOON = "2026-11-20T12:00:00Z"
USAGE = "/api/usage/subscription/sub-1"
RECORDS = "/api/usage/subscription/sub-1/records"
EMPTY = {
    "subscriptionId": "sub-1",
    "userId": "user-1",
    "planId": "business",
    "periodStart": "2026-11-01T00:00:00Z",
    "periodEnd": "2026-12-01T00:00:00Z",
    "usage": [],
}


def ids(pages: list[list[dict[str, Any]]]) -> list[str]:
    return [record["eventId"] for page in pages for record in page]


def test_no_usage_is_an_empty_list(ready: Api, at: At) -> None:
    at(NOON)
    assert ready.get(USAGE).json == EMPTY
    assert ready.get("/api/usage/user/user-1").json == {"userId": "user-1", "subscriptions": [EMPTY]}
    assert ready.get("/api/usage/user/nobody").json == {"userId": "nobody", "subscriptions": []}
    assert ready.get(RECORDS).json == {"records": []}


def test_usage_is_told_by_usage_type_in_every_detail(ready: Api, at: At) -> None:
    at(NOON)
    ready.plan(usage_type="report", limit=Decimal("2.5"), price="0.0033")
    ready.record("e1", 45)
    ready.record("e2", 15)
    ready.record("e3", 2, usageType="report")
    ready.record("e4", 1, usageType="unknown")
    ready.bill()
    ready.record("e5", 5)
    assert ready.get(USAGE).json == EMPTY | {
        "usage": [
            {
                "usageType": "assessment",
                "unitName": "assessment",
                "used": 65,
                "limit": 50,
                "remaining": 0,
                "exceeded": True,
                "billableQuantity": 15,
                "billedQuantity": 10,
                "unitPrice": "10.00",
                "charge": "150.00",
                "currency": "USD",
            },
            {
                "usageType": "report",
                "unitName": "report",
                "used": 2,
                "limit": Decimal("2.5"),
                "remaining": Decimal("0.5"),
                "exceeded": False,
                "billableQuantity": 0,
                "billedQuantity": 0,
                "unitPrice": "0.0033",
                "charge": "0.00",
                "currency": "USD",
            },
            {
                "usageType": "unknown",
                "unitName": None,
                "used": 1,
                "limit": None,
                "remaining": None,
                "exceeded": None,
                "billableQuantity": None,
                "billedQuantity": 0,
                "unitPrice": None,
                "charge": None,
                "currency": None,
            },
        ]
    }


def test_quantities_are_numbers_and_money_is_text(ready: Api) -> None:
    ready.record(quantity=60)
    text = ready.get(USAGE).text
    assert '"used":60,' in text
    assert '"charge":"100.00"' in text


@pytest.mark.parametrize(
    ("day", "start", "end", "used"),
    [
        pytest.param("2026-10-15", "2026-10-15", "2026-11-15", 7, id="the first day of a period"),
        pytest.param("2026-11-14", "2026-10-15", "2026-11-15", 7, id="its last day"),
        pytest.param("2026-11-15", "2026-11-15", "2026-12-15", 1, id="the first day of the next"),
        pytest.param("2026-12-24", "2026-12-15", "2027-01-15", None, id="a day to come"),
        pytest.param("2001-01-01", "2000-12-15", "2001-01-15", None, id="long ago"),
    ],
)
def test_a_day_selects_the_period_that_holds_it(
    api: Api, at: At, *, day: str, start: str, end: str, used: int | None
) -> None:
    at(NOON)
    api.plan()
    api.subscribe(billingAnchorDay=15)
    api.record("e1", 7, occurredAt="2026-11-14T23:59:59.999Z")
    api.record("e2", 1, occurredAt="2026-11-15T00:00:00Z")
    usage = api.get(USAGE, query={"period": day}).json
    assert (usage["periodStart"], usage["periodEnd"]) == (f"{start}T00:00:00Z", f"{end}T00:00:00Z")
    assert [each["used"] for each in usage["usage"]] == ([] if used is None else [used])
    records = api.get(RECORDS, query={"period": day}).json["records"]
    assert [record["quantity"] for record in records] == ([] if used is None else [used])


def test_without_a_day_it_is_the_current_period(ready: Api, at: At) -> None:
    at("2026-11-30T23:59:59Z")
    ready.record("e1", 7)
    at("2026-12-01T00:00:00Z")
    assert ready.get(USAGE).json["usage"] == []
    assert ready.get("/api/usage/user/user-1").json["subscriptions"][0]["usage"] == []
    assert ready.get(RECORDS).json == {"records": []}


def test_a_users_usage_is_that_of_each_subscription_page_by_page(ready: Api, at: At) -> None:
    at(NOON)
    for name, anchor in (("sub-3", 31), ("sub-2", 15)):
        ready.subscribe(name, billingAnchorDay=anchor)
        ready.record(f"e-{name}", anchor, subscriptionId=name)
    ready.subscribe("sub-of-another", "user-2")
    path = "/api/usage/user/user-1"
    whole = ready.get(path).json
    assert whole == {
        "userId": "user-1",
        "subscriptions": [ready.get(f"/api/usage/subscription/sub-{number}").json for number in (1, 2, 3)],
    }
    assert [each["periodStart"][:10] for each in whole["subscriptions"]] == ["2026-11-01", "2026-11-15", "2026-10-31"]
    assert ready.walk(path, "subscriptions", limit=1) == [[each] for each in whole["subscriptions"]]
    assert ready.walk(path, "subscriptions", limit=2) == [whole["subscriptions"][:2], whole["subscriptions"][2:]]
    assert ready.walk(path, "subscriptions", limit=3) == [whole["subscriptions"]]


def test_a_record_is_told_in_every_detail(ready: Api, at: At) -> None:
    at(NOON)
    ready.record("e1", 60, occurredAt="2026-11-19T00:00:00Z", metadata={"a": 1})
    record = {
        "eventId": "e1",
        "userId": "user-1",
        "subscriptionId": "sub-1",
        "usageType": "assessment",
        "quantity": 60,
        "cumulativeQuantity": 60,
        "occurredAt": "2026-11-19T00:00:00Z",
        "recordedAt": NOON,
        "sequence": 1,
        "billable": True,
        "billableQuantity": 10,
        "processed": False,
        "invoiceId": None,
        "invoiceItemId": None,
        "metadata": {"a": 1},
    }
    assert ready.get(RECORDS).json == {"records": [record]}
    ready.bill()
    [invoice] = ready.get("/api/invoices", query={"subscriptionId": "sub-1"}).json["invoices"]
    billed = {"processed": True, "invoiceId": invoice["invoiceId"], "invoiceItemId": ready.items()[0]["itemId"]}
    assert ready.get(RECORDS).json == {"records": [record | billed]}


def test_each_record_names_the_item_that_charged_it(ready: Api) -> None:
    """Runs over: what is included (no item), the first charge, a second one, and then something still open."""
    for number, quantity in enumerate([20, 30, 10, 1, 1, 1], 1):
        ready.record(f"e{number}", quantity)
        if number in (2, 3, 5):
            ready.bill()
    first, second = (item["itemId"] for item in ready.items())
    expected = [(True, None), (True, None), (True, first), (True, second), (True, second), (False, None)]
    for limit in (1, 2, 4, 100):
        records = [record for page in ready.walk(RECORDS, "records", limit=limit) for record in page]
        assert [(record["processed"], record["invoiceItemId"]) for record in records] == expected
        assert [record["invoiceId"] is not None for record in records] == [item is not None for _, item in expected]


@pytest.fixture
def many(ready: Api) -> Api:
    """Entries a1..a3, r1..r4 and z1 of three usage types."""
    for usage_type, count in (("assessment", 3), ("report", 4), ("zebra", 1)):
        for number in range(1, count + 1):
            ready.record(f"{usage_type[0]}{number}", usageType=usage_type)
    return ready


ALL = ["a1", "a2", "a3", "r1", "r2", "r3", "r4", "z1"]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 7, 8, 9, 100])
def test_records_come_by_usage_type_and_sequence_page_by_page(many: Api, limit: int) -> None:
    pages = many.walk(RECORDS, "records", limit=limit)
    assert ids(pages) == ALL
    assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)


def test_records_of_one_usage_type(many: Api) -> None:
    for limit in (1, 2, 100):
        assert ids(many.walk(RECORDS, "records", limit=limit, usageType="report")) == ["r1", "r2", "r3", "r4"]
    assert many.get(RECORDS, query={"usageType": "rep"}).json == {"records": []}


def test_what_is_recorded_while_a_list_is_read_is_read_too(many: Api) -> None:
    first = many.get(RECORDS, query={"limit": "5"}).json
    many.record("r5", usageType="report")
    many.record("a4")
    rest = many.get(RECORDS, query={"limit": "100", "cursor": first["nextCursor"]}).json
    assert ids([first["records"], rest["records"]]) == [*ALL[:-1], "r5", "z1"]


def test_a_cursor_is_of_its_list_only(many: Api, at: At) -> None:
    records = many.get(RECORDS, query={"limit": "1"}).json["nextCursor"]
    many.plan(usage_type="report")
    quotas = many.get("/api/usage/quotas/business", query={"limit": "1"}).json["nextCursor"]
    for path, cursor, query in [
        (RECORDS, quotas, {}),
        (RECORDS, records, {"period": "2026-01-01"}),
        (RECORDS, records[:-2], {}),
        (RECORDS, records + "=", {}),
        ("/api/usage/quotas/business", records, {}),
        ("/api/usage/user/user-1", records, {}),
    ]:
        answer = many.get(path, query=query | {"cursor": cursor})
        assert (answer.status, answer.code) == (422, "validation_error")
        assert [(fault["field"], fault["code"]) for fault in answer.json["errors"]] == [("cursor", "invalid")]


def test_a_page_ends_early_where_the_index_lags_and_nothing_is_skipped(
    many: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    from usage_billing import store

    whole = store.entries
    with monkeypatch.context() as lagging:
        lagging.setattr(store, "entries", lambda key, after, limit: whole(key, after, limit)[: max(0, 2 - after)])
        page = many.get(RECORDS).json
        assert ids([page["records"]]) == ["a1", "a2"]
        again = many.get(RECORDS, query={"cursor": page["nextCursor"]}).json
        assert again == {"records": [], "nextCursor": page["nextCursor"]}
    rest = many.get(RECORDS, query={"cursor": again["nextCursor"]}).json["records"]
    assert ids([page["records"], rest]) == ALL


def test_an_index_with_a_gap_is_read_up_to_the_gap(many: Api) -> None:
    from usage_billing import store
    from usage_billing.tables import UsageTable

    [key] = {store.entry("sub-1", "r1").key}
    UsageTable.get("sub-1", "r2").delete()
    assert [entry.event_id for entry in store.entries(key, 0, 100)] == ["r1"]
    assert [entry.event_id for entry in store.entries(key, 1, 100)] == []
    assert [entry.event_id for entry in store.entries(key, 2, 100)] == ["r3", "r4"]
