"""What is written without an instance of a model is what PynamoDB writes for one."""

import os
from decimal import Decimal

import pytest

from usage_billing.tables import UsageTable

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

pytestmark = pytest.mark.usefixtures("aws")


def test_a_new_item_is_what_an_instance_becomes() -> None:
    for values in (ENTRY, ENTRY | {"billable_quantity": None, "metadata": None}):
        assert UsageTable.new(**values)["Item"] == UsageTable(**values).serialize()


def test_a_new_item_must_not_exist_and_a_refusal_shows_what_does() -> None:
    put = UsageTable.new(**ENTRY)
    assert put["TableName"] == os.environ["USAGE_TABLE"]
    assert put["ConditionExpression"] == "attribute_not_exists(subscription_id)"
    assert put["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD"
