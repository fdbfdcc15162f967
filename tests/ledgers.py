"""Reads the tables directly, without the code under test, and checks the invariants of the ledger.

All amounts are computed again, with fractions, so that an error in the code under test is not repeated here.
"""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import Any

import boto3
from boto3.dynamodb.types import TypeDeserializer

from tests.charges import charge_of, half_up

Item = dict[str, Any]

_deserialize = TypeDeserializer().deserialize


def _dynamodb() -> Any:
    return _client(os.environ.get("AWS_ENDPOINT_URL"), os.environ["AWS_ACCESS_KEY_ID"])


@cache
def _client(endpoint: str | None, account: str) -> Any:
    """The client of a cloud and account, cached because creating one takes longer than most calls."""
    return boto3.client("dynamodb", endpoint_url=endpoint, aws_access_key_id=account, aws_secret_access_key="test")


def rows(setting: str) -> list[Item]:
    """All items of the table that the environment variable `setting` names."""
    dynamodb = _dynamodb()
    pages = dynamodb.get_paginator("scan").paginate(TableName=os.environ[setting], ConsistentRead=True)
    return [{k: _deserialize(v) for k, v in item.items()} for page in pages for item in page["Items"]]


def clear() -> None:
    """Delete all items of all tables."""
    dynamodb = _dynamodb()
    for setting in [name for name in os.environ if name.endswith("_TABLE")]:
        table = os.environ[setting]
        keys = [key["AttributeName"] for key in dynamodb.describe_table(TableName=table)["Table"]["KeySchema"]]
        for item in dynamodb.scan(TableName=table)["Items"]:
            dynamodb.delete_item(TableName=table, Key={key: item[key] for key in keys})


@dataclass
class Ledger:
    """A head, its entries and its invoice items, in order of their sequences."""

    head: Item
    entries: list[Item]
    items: list[Item]

    @property
    def name(self) -> str:
        return f"{self.head['subscription_id']}#{self.head['ledger']}"

    def charge(self, total: Decimal) -> Fraction:
        return charge_of(self.billable(total), self.head["terms"])

    def billable(self, total: Decimal) -> Fraction:
        return max(Fraction(0), Fraction(total) - Fraction(self.head["terms"]["included"]))

    def total_at(self, sequence: int) -> Decimal:
        return self.entries[sequence - 1]["cumulative"] if sequence else Decimal(0)


MINOR = {"USD": 2, "EUR": 2, "JPY": 0}


def read(prefix: str = "") -> list[Ledger]:
    """The ledgers of all subscriptions whose id begins with `prefix`."""
    entries: dict[str, list[Item]] = defaultdict(list)
    for row in rows("USAGE_TABLE"):
        entries[row["ledger_id"]].append(row)
    items: dict[tuple[str, str], list[Item]] = defaultdict(list)
    for row in rows("USAGE_INVOICE_ITEM_TABLE"):
        period_start, usage_type, sequence = row["item_id"].split("#")
        assert (period_start, usage_type, int(sequence)) == (row["period_start"], row["usage_type"], row["to_sequence"])
        items[row["invoice_id"], row["usage_type"]].append(row)
    prices = {row["plan_id"]: row["price"] for row in rows("USAGE_QUOTA_TABLE") if row["version"] == "#price"}
    found = []
    for head in rows("USAGE_SUMMARY_TABLE"):
        if head["subscription_id"].startswith(prefix):
            _replace_reference(head.get("terms"), prices)
            period_start, usage_type = head["ledger"].split("#")
            invoice_id = f"{head['subscription_id']}-{period_start.replace('-', '').replace(':', '')}"
            own = entries.pop(f"{head['subscription_id']}#{head['ledger']}", [])
            found.append(
                Ledger(
                    head,
                    sorted(own, key=lambda row: row["sequence"]),
                    sorted(items.pop((invoice_id, usage_type), []), key=lambda row: row["to_sequence"]),
                )
            )
    assert not [name for name in entries if name.startswith(prefix)], "entries without a head"
    assert not [name for name, _ in items if name.startswith(prefix)], "items without a head"
    return found


def _replace_reference(terms: Item | None, prices: dict[str, str]) -> None:
    """Replace the reference to a stored price by the price, whose digest it is."""
    if terms and not terms["price"].startswith("{"):
        text = prices[f"#{terms['price']}"]
        assert terms["price"] == f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
        terms["price"] = text


def check(prefix: str = "") -> list[Ledger]:
    """Assert every invariant, and return the checked ledgers."""
    ledgers = read(prefix)
    for ledger in ledgers:
        _check_entries(ledger)
        _check_billing(ledger)
    _check_invoices(prefix, ledgers)
    names = [(e["subscription_id"], e["event_id"]) for ledger in ledgers for e in ledger.entries]
    assert len(names) == len(set(names)), "two entries have the same event id"
    return ledgers


def _check_entries(ledger: Ledger) -> None:
    head, entries = ledger.head, ledger.entries
    start = datetime.fromisoformat(head["ledger"].split("#")[0])
    end = datetime.fromisoformat(head["period_end"])
    assert all(start <= datetime.fromisoformat(e["occurred_at"]) < end for e in entries), ledger.name
    assert [int(e["sequence"]) for e in entries] == list(range(1, int(head["last_sequence"]) + 1)), ledger.name
    total = Fraction(0)
    for entry in entries:
        total += Fraction(entry["quantity"])
        assert Fraction(entry["cumulative"]) == total, ledger.name
    assert Fraction(head["used"]) == total, ledger.name
    if "terms" in head:
        included = Fraction(head["terms"]["included"])
        billable = Fraction(0)
        for entry in entries:
            after = Fraction(entry["cumulative"])
            before = after - Fraction(entry["quantity"])
            share = max(Fraction(0), after - included) - max(Fraction(0), before - included)
            # Entries recorded before the ledger had terms store none. What they add to the total is billable.
            stored = entry.get("billable_quantity")
            assert stored is None or Fraction(stored) == share, ledger.name
            billable += share if stored is None else Fraction(stored)
        assert billable == max(Fraction(0), total - included), ledger.name


def _check_billing(ledger: Ledger) -> None:
    head = ledger.head
    through = int(head["billed_through"])
    assert 0 <= through <= head["last_sequence"], ledger.name
    assert ("pending" in head) == (through < head["last_sequence"]), f"{ledger.name}: wrong value of pending"
    if "terms" not in head:
        assert through == 0, ledger.name
        assert not ledger.items, ledger.name
        return
    at = 0
    for item in ledger.items:
        start, end = int(item["from_sequence"]), int(item["to_sequence"])
        assert at < start <= end <= through, f"{ledger.name}: items overlap or reach beyond the watermark"
        # Entries between two items were settled without a charge.
        assert ledger.charge(ledger.total_at(start - 1)) == ledger.charge(ledger.total_at(at)), ledger.name
        assert ledger.billable(ledger.total_at(end)) > ledger.billable(ledger.total_at(start - 1)), ledger.name
        assert ledger.charge(ledger.total_at(end)) > 0 or ledger.charge(ledger.total_at(start - 1)) > 0, ledger.name
        quantity = ledger.billable(ledger.total_at(end)) - ledger.billable(ledger.total_at(start - 1))
        assert Fraction(item["quantity"]) == quantity, ledger.name
        at = end
    assert ledger.charge(ledger.total_at(through)) == ledger.charge(ledger.total_at(at)), ledger.name
    charged = half_up(ledger.charge(ledger.total_at(through)), MINOR[head["terms"]["currency"]])
    assert sum((Fraction(i["amount"]) for i in ledger.items), Fraction(0)) == charged, ledger.name
    assert Fraction(head["billed_amount"]) == charged, ledger.name
    assert head["billed_items"] == len(ledger.items), ledger.name
    assert Fraction(head["billed_quantity"]) == ledger.billable(ledger.total_at(through))


def _check_invoices(prefix: str, ledgers: list[Ledger]) -> None:
    sums: dict[str, Fraction] = defaultdict(Fraction)
    counts: dict[str, int] = defaultdict(int)
    for item in (item for ledger in ledgers for item in ledger.items):
        sums[item["invoice_id"]] += Fraction(item["amount"])
        counts[item["invoice_id"]] += 1
    for invoice in rows("INVOICE_TABLE"):
        if invoice["subscription_id"].startswith(prefix):
            start = invoice["period_start"].replace("-", "").replace(":", "")
            name = f"{invoice['subscription_id']}-{start}"
            assert Fraction(invoice["total"]) == sums.pop(name, None), f"{name}: total is not the sum of its items"
            assert invoice["item_count"] == counts[name], name
    assert not sums, f"items without an invoice: {json.dumps(list(sums))}"


def unsettled(ledgers: list[Ledger]) -> Iterator[str]:
    """The names of the ledgers that have terms and are not settled."""
    for ledger in ledgers:
        if "terms" in ledger.head and ledger.head["billed_through"] < ledger.head["last_sequence"]:
            yield ledger.name
