"""Items that are built without a PynamoDB model equal those that PynamoDB writes."""

import os
from decimal import Decimal
from typing import Any

import pytest

from usage_billing.platform.dynamodb import Table
from usage_billing.platform.tables import UsageInvoiceItemTable, UsageTable

ENTRY = {
    "subscription_id": "sub-1",
    "event_id": "event-1",
    "ledger_id": "sub-1#2026-11-01T00:00:00Z#report",
    "sequence": 12345678901234567,
    "user_id": "user-1",
    "quantity": Decimal("999999999999.999999999"),
    "cumulative": Decimal("1E+3"),
    "billable_quantity": Decimal(0),
    "occurred_at": "2026-11-20T12:00:00Z",
    "recorded_at": "2026-11-20T12:00:00.5Z",
    "metadata": '{"a":"é"}',
}
CHARGE = {
    "invoice_id": "sub-1~20261101T000000Z",
    "item_id": "2026-11-01T00:00:00Z#report#00000012",
    "usage_type": "report",
    "period_start": "2026-11-01T00:00:00Z",
    "period_end": "2026-12-01T00:00:00Z",
    "description": "7 reports beyond the included 5, at 2.50 USD each",
    "quantity": Decimal(7),
    "unit_price": Decimal("2.50"),
    "amount": Decimal("17.50"),
    "currency": "USD",
    "from_sequence": 1,
    "to_sequence": 12,
    "run_id": "run",
    "created_at": "2026-11-20T12:00:00Z",
}

pytestmark = pytest.mark.usefixtures("aws")


@pytest.mark.parametrize(
    ("table", "values"),
    [
        (UsageTable, ENTRY),
        (UsageTable, ENTRY | {"billable_quantity": None, "metadata": None}),
        (UsageInvoiceItemTable, CHARGE),
    ],
)
def test_a_new_item_equals_the_item_that_pynamodb_writes(table: type[Table], values: dict[str, Any]) -> None:
    assert table.new(**values)["Item"] == table(**values).serialize()


@pytest.mark.parametrize("name", ["event_id", "ledger_id", "sequence"])
def test_an_item_without_a_required_attribute_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match=f"has no {name}"):
        UsageTable.new(**ENTRY | {name: None})


def test_writing_a_new_item_fails_if_it_exists_and_returns_the_existing_item() -> None:
    put = UsageTable.new(**ENTRY)
    assert put["TableName"] == os.environ["USAGE_TABLE"]
    assert put["ConditionExpression"] == "attribute_not_exists(subscription_id)"
    assert put["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD"
