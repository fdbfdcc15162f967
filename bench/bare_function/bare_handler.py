"""A bare function that stores an event, for comparison with record_usage: one client, one read, one transaction."""

import os

import boto3

dynamodb = boto3.client("dynamodb")


def handler(event, _context):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - kept bare
    key = {"subscription_id": {"S": "bare"}, "ledger": {"S": "2026-11-01T00:00:00Z#assessment"}}
    heads, usage = os.environ["USAGE_SUMMARY_TABLE"], os.environ["USAGE_TABLE"]
    subscriptions = os.environ["SUBSCRIPTION_TABLE"]
    found = dynamodb.batch_get_item(
        RequestItems={
            subscriptions: {"Keys": [{"subscription_id": {"S": "bare"}}], "ConsistentRead": True},
            heads: {"Keys": [key], "ConsistentRead": True},
        }
    )["Responses"]
    if found[subscriptions][0]["status"]["S"] != "active":
        return {"statusCode": 409}
    seen = int(found[heads][0]["last_sequence"]["N"]) if found[heads] else 0
    after = {"N": str(seen + 1)}
    entry = {
        "subscription_id": {"S": "bare"},
        "event_id": {"S": event["event_id"]},
        "ledger_id": {"S": "bare#2026-11-01T00:00:00Z#assessment"},
        "sequence": after,
        "user_id": {"S": "user-1"},
        "quantity": {"N": "1"},
        "cumulative": after,
        "billable_quantity": {"N": "1"},
        "occurred_at": {"S": "2026-11-20T12:00:00Z"},
        "recorded_at": {"S": "2026-11-20T12:00:00Z"},
        "metadata": {"S": '{"reportId":"abc123","source":"report-service","pages":12}'},
    }
    condition = "last_sequence = :seen" if seen else "attribute_not_exists(last_sequence)"
    values = {":after": after, ":pending": {"S": "7"}} | ({":seen": {"N": str(seen)}} if seen else {})
    head = {
        "TableName": heads,
        "Key": key,
        "UpdateExpression": "SET last_sequence = :after, used = :after, pending = :pending",
        "ConditionExpression": condition,
        "ExpressionAttributeValues": values,
    }
    put = {"TableName": usage, "Item": entry, "ConditionExpression": "attribute_not_exists(event_id)"}
    dynamodb.transact_write_items(TransactItems=[{"Put": put}, {"Update": head}])
    return {"statusCode": 201}
