"""Reading invoices: lines and total always agree, and even the longest invoice can be read."""

import itertools
from decimal import Decimal
from typing import Any

import pytest

from tests.api import Answer, Api
from tests.clocks import At
from tests.faults import When, watched
from tests.ledgers import clear
from usage_billing.invoices.ids import item_id
from usage_billing.kernel import cursors
from usage_billing.platform.tables import InvoiceTable, UsageInvoiceItemTable, UsageSummaryTable
from usage_billing.usage import rows as usage_rows
from usage_billing.usage import store as ledger_store
from usage_billing.usage.ledger import LedgerKey

PERIOD_START = "2026-11-01T00:00:00Z"
INVOICE = "/api/invoices/sub-1-20261101T000000Z"
ITEMS = f"{INVOICE}/items"
MAX_RESPONSE_BYTES = 6 * 1024 * 1024
"""The maximum size of a Lambda response."""


@pytest.fixture
def billed(ready: Api, at: At) -> Api:
    """An invoice with a line for assessments. Reports cost 2.00 each from the first one."""
    at("2026-11-20T12:00:00Z")
    ready.plan(usage_type="report", limit=0, price="2.00")
    ready.record("first", 60)
    ready.bill()
    return ready


def check_sums(answer: Answer) -> None:
    assert answer.status == 200, answer.text
    invoice = answer.json
    assert sum(Decimal(line["amount"]) for line in invoice["lines"]) == Decimal(invoice["total"])
    assert sum(line["itemCount"] for line in invoice["lines"]) == invoice["itemCount"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("usage_type", ["assessment", "report"], ids=["a line grows", "a line is added"])
def test_an_invoice_adds_up_if_a_settlement_happens_while_it_is_read(billed: Api, when: When, usage_type: str) -> None:
    added = {"assessment": "110.00", "report": "102.00"}[usage_type]
    for number in itertools.count(1):
        clear()
        billed.plan()
        billed.plan(usage_type="report", limit=0, price="2.00")
        billed.subscribe()
        billed.record("first", 60)
        billed.bill()
        settled: list[Answer] = []

        def settle(_: object, settled: list[Answer] = settled) -> None:
            billed.record("second", 1, usageType=usage_type)
            settled.append(billed.bill())

        with watched() as calls:
            calls.at(number, when, settle)
            answer = billed.get(INVOICE)
        check_sums(answer)
        assert answer.json["total"] in ("100.00", added)
        if not settled:
            break
        assert settled[0].json["itemsCreated"] == 1
        check_sums(billed.get(INVOICE))
        [stored] = billed.get("/api/invoices", query={"subscriptionId": "sub-1"}).json["invoices"]
        assert stored["total"] == added
    assert number >= 3


def test_an_invoice_with_a_wrong_item_count_still_adds_up(billed: Api) -> None:
    """As if a version that does not count the items of a ledger had settled it in between."""
    InvoiceTable("sub-1", PERIOD_START).update([InvoiceTable.item_count.add(1)])
    UsageSummaryTable("sub-1", f"{PERIOD_START}#assessment").update([UsageSummaryTable.billed_items.remove()])
    check_sums(billed.get(INVOICE))
    assert billed.invoice()["total"] == "100.00"
    billed.record("second")
    assert billed.bill().json["failures"] == 0
    check_sums(billed.get(INVOICE))
    assert billed.invoice()["total"] == "110.00"


def save_ledger_and_make_items(usage_type: str, runs: int) -> list[UsageInvoiceItemTable]:
    """Save a ledger that was billed `runs` times, one unit each. Return its items.

    Billing it for real would take too long.
    """
    head = ledger_store.heads("sub-1", PERIOD_START)[0]
    UsageSummaryTable(
        "sub-1", f"{PERIOD_START}#{usage_type}", user_id="user-1", period_end="2026-12-01T00:00:00Z",
        last_sequence=runs, used=Decimal(runs), billed_through=runs, billed_quantity=Decimal(runs),
        billed_amount=Decimal(2 * runs), billed_items=runs,
        terms=usage_rows.terms_attribute(head),
    ).save()  # fmt: skip
    key = LedgerKey("sub-1", PERIOD_START, usage_type)
    return [
        UsageInvoiceItemTable(
            "sub-1-20261101T000000Z", item_id(key, number), usage_type=usage_type, period_start=PERIOD_START,
            period_end="2026-12-01T00:00:00Z", description="1 x report beyond the 0 included", quantity=Decimal(1),
            unit_price=Decimal(2), amount=Decimal(2), currency="USD", from_sequence=number, to_sequence=number,
            run_id="f" * 32, created_at="2026-11-20T12:00:00Z",
        )
        for number in range(1, runs + 1)
    ]  # fmt: skip


def test_an_invoice_with_25_000_items_takes_two_reads_and_its_items_have_pages(billed: Api) -> None:
    """In one response the items would be 8 MB, but the limit is 6 MB."""
    rows = save_ledger_and_make_items("busy", 20_000) + save_ledger_and_make_items("report", 4_999)
    with UsageInvoiceItemTable.batch_write() as batch:
        for row in rows:
            batch.save(row)
    InvoiceTable("sub-1", PERIOD_START).update(
        [InvoiceTable.total.add(Decimal(2 * len(rows))), InvoiceTable.item_count.add(len(rows))]
    )
    with watched() as calls:
        answer = billed.get(INVOICE)
    check_sums(answer)
    assert calls.made == ["GetItem", "Query"]
    assert answer.json["itemCount"] == 25_000
    assert [(line["usageType"], line["itemCount"]) for line in answer.json["lines"]] == [
        ("assessment", 1), ("busy", 20_000), ("report", 4_999)]  # fmt: skip
    with watched() as calls:
        page = billed.get(ITEMS)
    assert calls.made == ["GetItem", "Query"]
    assert len(page.json["items"]) == 100
    assert 25_000 // 100 * len(page.text) > MAX_RESPONSE_BYTES > 100 * len(page.text)
    last = billed.get(ITEMS, query={"usageType": "report", "limit": "1"})
    assert last.json["items"][0]["itemId"] == rows[20_000].item_id


@pytest.fixture
def itemized(billed: Api) -> Api:
    """Two items for assessments, three for reports and one for `report+x`, which sorts next to reports."""
    billed.plan(usage_type="report+x", limit=0)
    for number in range(3):
        billed.record(f"r{number}", usageType="report")
        if number == 1:
            billed.record("a", 5)
            billed.record("x", usageType="report+x")
        billed.bill()
    return billed


def short_ids(pages: list[list[Any]]) -> list[str]:
    return [item["itemId"].removeprefix(f"{PERIOD_START}#").replace("0" * 14, "") for page in pages for item in page]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6, 7, 100])
def test_items_are_listed_by_usage_type_and_sequence_in_pages(itemized: Api, limit: int) -> None:
    pages = itemized.walk(ITEMS, "items", limit=limit)
    assert short_ids(pages) == ["assessment#1", "assessment#2", "report#1", "report#2", "report#3", "report+x#1"]
    assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
    assert sum(Decimal(item["amount"]) for page in pages for item in page) == Decimal(itemized.invoice()["total"])


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_items_can_be_filtered_by_usage_type(itemized: Api, limit: int) -> None:
    assert short_ids(itemized.walk(ITEMS, "items", limit=limit, usageType="report")) == [
        "report#1",
        "report#2",
        "report#3",
    ]
    assert short_ids(itemized.walk(ITEMS, "items", limit=limit, usageType="report+x")) == ["report+x#1"]
    assert itemized.get(ITEMS, query={"usageType": "rep"}).json == {"items": []}


def test_the_items_of_a_line_match_its_count_and_amount(itemized: Api) -> None:
    lines = itemized.invoice()["lines"]
    assert [line["usageType"] for line in lines] == ["assessment", "report", "report+x"]
    for line in lines:
        items = itemized.items(usageType=line["usageType"])
        assert len(items) == line["itemCount"]
        assert sum(Decimal(item["amount"]) for item in items) == Decimal(line["amount"])
        assert sum(item["quantity"] for item in items) == line["quantity"]


def test_the_list_of_invoices_contains_no_items_and_no_lines(itemized: Api) -> None:
    [listed] = itemized.get("/api/invoices", query={"subscriptionId": "sub-1"}).json["invoices"]
    assert listed == {name: value for name, value in itemized.invoice().items() if name != "lines"}


@pytest.mark.parametrize("after", ["", "!", "#", "zzz", "\U0010ffff"])
def test_a_made_up_cursor_causes_no_error(itemized: Api, after: str) -> None:
    for usage_type in ("", "report"):
        cursor = cursors.encode(itemized.invoice()["invoiceId"], usage_type, after)
        query = {"cursor": cursor} | ({"usageType": usage_type} if usage_type else {})
        assert itemized.get(ITEMS, query=query).status == 200


def test_a_cursor_works_only_for_its_own_list(itemized: Api) -> None:
    every = itemized.get(ITEMS, query={"limit": "1"}).json["nextCursor"]
    reports = itemized.get(ITEMS, query={"limit": "1", "usageType": "report"}).json["nextCursor"]
    itemized.record("before", 60, occurredAt="2026-10-20T00:00:00Z")
    itemized.bill()
    other = "/api/invoices/sub-1-20261001T000000Z/items"
    for path, cursor, query in [
        (ITEMS, every, {"usageType": "report"}),
        (ITEMS, reports, {}),
        (ITEMS, reports, {"usageType": "assessment"}),
        (ITEMS, every[:-2], {}),
        (other, every, {}),
        (other, reports, {"usageType": "report"}),
    ]:
        answer = itemized.get(path, query=query | {"cursor": cursor})
        assert (answer.status, answer.code) == (422, "validation_error")
        assert [(error["field"], error["code"]) for error in answer.json["errors"]] == [("cursor", "invalid")]
