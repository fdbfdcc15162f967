"""Read items of several tables together, strongly consistently."""

from collections.abc import Mapping, Sequence
from typing import Any

from pynamodb.exceptions import PynamoDBException

from usage_billing.platform.dynamodb import Table
from usage_billing.platform.retries import attempts
from usage_billing.platform.start_times import MAX_READ_SECONDS, StartTime
from usage_billing.platform.tables import connection

MAX_KEYS = 100
"""Maximum keys of one call."""

MAX_REQUESTS = 8
"""Maximum requests for what DynamoDB leaves unprocessed. Their pauses take 1.6 s at most."""

Keys = Mapping[type[Table], Sequence[Mapping[str, str]]]
"""The keys to read of each table, each with the names of its attributes."""


class KeysNotRead(PynamoDBException):
    """DynamoDB left keys unprocessed time after time. Callers treat it like any other failure of the database."""


def read_together(keys: Keys) -> list[Table]:
    """Return the items that exist of up to `MAX_KEYS` keys, in any order. No key may occur twice.

    DynamoDB may process only some of the keys, when it is throttled. The rest is requested again, so that an item that
    was not read never seems to be missing.

    Raises:
        KeysNotRead: keys were left after `MAX_REQUESTS` requests, or when the first items were too old to write by.
    """
    tables = {table._get_connection().table_name: table for table in keys}
    rest: dict[str, Any] = {
        name: {"Keys": [_attributes(key) for key in keys[table]], "ConsistentRead": True}
        for name, table in tables.items()
    }
    began = StartTime.now()
    found: list[Table] = []
    for _ in attempts(MAX_REQUESTS):
        response = connection().dispatch("BatchGetItem", {"RequestItems": rest})
        for name, items in response["Responses"].items():
            found += [tables[name].from_raw_data(item) for item in items]
        rest = response.get("UnprocessedKeys", {})
        if not rest:
            return found
        if began.is_older_than(MAX_READ_SECONDS):
            break
    raise KeysNotRead(f"{sum(len(each['Keys']) for each in rest.values())} keys were left unprocessed")


def _attributes(key: Mapping[str, str]) -> dict[str, dict[str, str]]:
    return {name: {"S": value} for name, value in key.items()}
