"""Bare code that makes the product's reads and writes with boto3: no validation, no retries of its own, no metrics."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import boto3

from bench.fixtures import METADATA, PLAN, UNIT_PRICE, USAGE_TYPE, USER
from usage_billing.kernel.exact_json import dumps

PERIOD = "2026-11-01T00:00:00Z"
PERIOD_END = "2026-12-01T00:00:00Z"
RECORDED_AT = "2026-11-20T12:00:00Z"


class Ledger:
    """A ledger that is written with plain boto3."""

    def __init__(self, tables: dict[str, str], subscription: str) -> None:
        self.client: Any = boto3.client(
            "dynamodb",
            aws_access_key_id=tables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=tables["AWS_SECRET_ACCESS_KEY"],
        )
        self.tables = tables
        self.subscription = subscription
        self.head_key = {"subscription_id": {"S": subscription}, "ledger": {"S": f"{PERIOD}#{USAGE_TYPE}"}}

    def open(self) -> None:
        self.client.put_item(TableName=self.tables["SUBSCRIPTION_TABLE"], Item=subscription(self.subscription))
        self.client.put_item(TableName=self.tables["USAGE_SUMMARY_TABLE"], Item=self.head_key | head(0))

    def read(self) -> int:
        """Read the subscription and the head, consistently in one call. Return the last sequence."""
        subscriptions, heads = self.tables["SUBSCRIPTION_TABLE"], self.tables["USAGE_SUMMARY_TABLE"]
        subscription_key = {"subscription_id": {"S": self.subscription}}
        response = self.client.batch_get_item(
            RequestItems={
                subscriptions: {"Keys": [subscription_key], "ConsistentRead": True},
                heads: {"Keys": [self.head_key], "ConsistentRead": True},
            }
        )["Responses"]
        assert response[subscriptions][0]["status"]["S"] == "active"
        return int(response[heads][0]["last_sequence"]["N"])

    def append(self, seen: int, event_ids: Iterable[str]) -> int:
        """Write the entries and the head in one transaction, and return the new last sequence."""
        puts = [self._put(name, sequence) for sequence, name in enumerate(event_ids, seen + 1)]
        after = seen + len(puts)
        update = {
            "TableName": self.tables["USAGE_SUMMARY_TABLE"],
            "Key": self.head_key,
            "UpdateExpression": "SET last_sequence = :after, used = :used, pending = :pending",
            "ConditionExpression": "last_sequence = :seen",
            "ExpressionAttributeValues": {
                ":after": {"N": str(after)},
                ":used": {"N": str(after)},
                ":pending": {"S": "7"},
                ":seen": {"N": str(seen)},
            },
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        self.client.transact_write_items(TransactItems=[*puts, {"Update": update}])
        return after

    def _put(self, event_id: str, sequence: int) -> dict[str, Any]:
        item = {
            "subscription_id": {"S": self.subscription},
            "event_id": {"S": event_id},
            "ledger_id": {"S": f"{self.subscription}#{PERIOD}#{USAGE_TYPE}"},
            "sequence": {"N": str(sequence)},
            "user_id": {"S": USER},
            "quantity": {"N": "1"},
            "cumulative": {"N": str(sequence)},
            "billable_quantity": {"N": "1"},
            "occurred_at": {"S": RECORDED_AT},
            "recorded_at": {"S": RECORDED_AT},
            "metadata": {"S": dumps(METADATA)},
        }
        return {
            "Put": {
                "TableName": self.tables["USAGE_TABLE"],
                "Item": item,
                "ConditionExpression": "attribute_not_exists(event_id)",
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }
        }


def subscription(name: str) -> dict[str, Any]:
    """Return the item of an active subscription."""
    return {
        "subscription_id": {"S": name},
        "user_id": {"S": USER},
        "plan_id": {"S": PLAN},
        "status": {"S": "active"},
        "cycle": {"S": '{"kind":"monthly","anchorDay":1}'},
    }


def head(used: int) -> dict[str, Any]:
    """Return the attributes of a head with `used` entries of quantity 1, none of them billed."""
    number = {"N": str(used)}
    terms = {
        "plan_id": {"S": PLAN},
        "included": {"N": "5"},
        "price": {"S": f'{{"kind":"unit","unitPrice":{UNIT_PRICE}}}'},
        "unit_name": {"S": USAGE_TYPE},
        "currency": {"S": "USD"},
    }
    return {
        "user_id": {"S": USER},
        "period_end": {"S": PERIOD_END},
        "last_sequence": number,
        "used": number,
        "billed_through": {"N": "0"},
        "billed_quantity": {"N": "0"},
        "billed_amount": {"N": "0"},
        "billed_items": {"N": "0"},
        "terms": {"M": terms},
    }


def amount(used: int) -> Decimal:
    return (used - 5) * UNIT_PRICE
