"""The tables, queues and secrets of a stack, created in moto or in the local cloud, and the settings that name them."""

import hashlib
import json
from typing import Any

import boto3

from tests.template import tables_body

API_KEY = "test-key"
JWT_SECRET = "a-secret-of-the-tests-that-is-long-enough"
ISSUER = "https://issuer.test"
AUDIENCE = "usage-billing"

SCOPED_KEYS = {scope: f"test-key-{scope}" for scope in ("read", "record", "operate")}


def api_keys(**keys: str) -> str:
    """The secret that holds these API keys, given by their ids. None of them has a scope."""
    return json.dumps({"keys": [api_key(name, key) for name, key in keys.items()]})


def api_key(name: str, key: str, **more: str) -> dict[str, str]:
    """One API key as the secret stores it."""
    return {"id": name, "sha256": hashlib.sha256(key.encode()).hexdigest(), **more}


def secrets() -> dict[str, str]:
    """The values of the secrets, by name."""
    scoped = [api_key(f"may-{scope}", key, scope=scope) for scope, key in SCOPED_KEYS.items()]
    return {"jwt": JWT_SECRET, "api-keys": json.dumps({"keys": [api_key("first", API_KEY), *scoped]})}


def create(**client: Any) -> dict[str, str]:
    """Create tables, queues and secrets. Return the environment variables with which the functions find them."""
    cloudformation = boto3.client("cloudformation", **client)
    cloudformation.create_stack(
        StackName="tables",
        TemplateBody=tables_body(),
        Parameters=[{"ParameterKey": "Stage", "ParameterValue": "local"}],
    )
    cloudformation.get_waiter("stack_create_complete").wait(StackName="tables", WaiterConfig={"Delay": 1})
    [stack] = cloudformation.describe_stacks(StackName="tables")["Stacks"]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    for name, value in secrets().items():
        boto3.client("secretsmanager", **client).create_secret(Name=name, SecretString=value)
    sqs = boto3.client("sqs", **client)
    queues = {name: sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("billing", "usage")}
    return {
        "USAGE_TABLE": outputs["UsageTableName"],
        "USAGE_QUOTA_TABLE": outputs["UsageQuotaTableName"],
        "USAGE_SUMMARY_TABLE": outputs["UsageSummaryTableName"],
        "USAGE_INVOICE_ITEM_TABLE": outputs["UsageInvoiceItemTableName"],
        "SUBSCRIPTION_TABLE": outputs["SubscriptionTableName"],
        "INVOICE_TABLE": outputs["InvoiceTableName"],
        "DEAD_EVENT_TABLE": outputs["DeadEventTableName"],
        "BILLING_RUN_TABLE": outputs["BillingRunTableName"],
        "BILLING_QUEUE_URL": queues["billing"],
        "USAGE_QUEUE_URL": queues["usage"],
        "JWT_ALGORITHM": "HS256",
        "JWT_SECRET_ID": "jwt",
        "JWT_JWKS_URL": "",
        "JWT_ISSUER": ISSUER,
        "JWT_AUDIENCE": AUDIENCE,
        "API_KEYS_SECRET_ID": "api-keys",
        "CUSTOMERS_MAY_RECORD": "false",
    }
