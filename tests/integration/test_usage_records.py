"""Reading records: every field and page, and the invoice item of each record."""

from typing import Any

import pytest

from tests.api import Api
from tests.clocks import At

NOON = "2026-11-20T12:00:00Z"
RECORDS = "/api/usage/subscription/sub-1/records"


def event_ids(pages: list[list[dict[str, Any]]]) -> list[str]:
    return [record["eventId"] for page in pages for record in page]


def test_every_field_of_a_record(ready: Api, at: At) -> None:
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
    """Entries that are included (no item), charged by a first item, charged by a second item, and not yet billed."""
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
    """Entries a1 to a3, r1 to r4 and z1, of three usage types."""
    for usage_type, count in (("assessment", 3), ("report", 4), ("zebra", 1)):
        for number in range(1, count + 1):
            ready.record(f"{usage_type[0]}{number}", usageType=usage_type)
    return ready


ALL = ["a1", "a2", "a3", "r1", "r2", "r3", "r4", "z1"]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 7, 8, 9, 100])
def test_records_are_listed_by_usage_type_and_sequence_in_pages(many: Api, limit: int) -> None:
    pages = many.walk(RECORDS, "records", limit=limit)
    assert event_ids(pages) == ALL
    assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)


def test_records_can_be_filtered_by_usage_type(many: Api) -> None:
    for limit in (1, 2, 100):
        assert event_ids(many.walk(RECORDS, "records", limit=limit, usageType="report")) == ["r1", "r2", "r3", "r4"]
    assert many.get(RECORDS, query={"usageType": "rep"}).json == {"records": []}


def test_events_recorded_while_a_list_is_read_are_included(many: Api) -> None:
    first = many.get(RECORDS, query={"limit": "5"}).json
    many.record("r5", usageType="report")
    many.record("a4")
    rest = many.get(RECORDS, query={"limit": "100", "cursor": first["nextCursor"]}).json
    assert event_ids([first["records"], rest["records"]]) == [*ALL[:-1], "r5", "z1"]


def test_a_cursor_works_only_for_its_own_list(many: Api, at: At) -> None:
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
        assert [(error["field"], error["code"]) for error in answer.json["errors"]] == [("cursor", "invalid")]


def test_a_page_ends_early_if_the_index_lags_and_nothing_is_skipped(many: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from usage_billing.usage import store as ledger_store

    whole = ledger_store.entries
    with monkeypatch.context() as lagging:
        lagging.setattr(
            ledger_store, "entries", lambda key, after, limit: whole(key, after, limit)[: max(0, 2 - after)]
        )
        page = many.get(RECORDS).json
        assert event_ids([page["records"]]) == ["a1", "a2"]
        again = many.get(RECORDS, query={"cursor": page["nextCursor"]}).json
        assert again == {"records": [], "nextCursor": page["nextCursor"]}
    rest = many.get(RECORDS, query={"cursor": again["nextCursor"]}).json["records"]
    assert event_ids([page["records"], rest]) == ALL


def test_an_index_with_a_missing_entry_is_read_up_to_the_gap(many: Api) -> None:
    from usage_billing.platform.tables import UsageTable
    from usage_billing.usage import store as ledger_store

    first = ledger_store.entry("sub-1", "r1")
    assert first
    key = first.key
    UsageTable.get("sub-1", "r2").delete()
    assert [entry.event_id for entry in ledger_store.entries(key, 0, 100)] == ["r1"]
    assert [entry.event_id for entry in ledger_store.entries(key, 1, 100)] == []
    assert [entry.event_id for entry in ledger_store.entries(key, 2, 100)] == ["r3", "r4"]
