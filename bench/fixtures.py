"""The environment of the benchmark: empty accounts of a local cloud, subscriptions in them, requests to handlers."""

import itertools
import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import boto3

from tests import cloud
from tests.api import INTERNAL, Context

REGION = "us-east-1"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
USER, PLAN, USAGE_TYPE = "user-1", "business", "assessment"
INCLUDED, UNIT_PRICE = Decimal(5), Decimal("2.5")
METADATA = {"reportId": "abc123", "source": "report-service", "pages": 12}

Environment = dict[str, str]

_accounts = itertools.count(300_000_000_000)


def process(endpoint: str) -> Environment:
    """Return environment variables with which a process can reach only the local cloud."""
    return {
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_ENDPOINT_URL": endpoint,
    }


def account(endpoint: str) -> Environment:
    """Create an empty account with the stack's tables, queues and secrets. Return the environment for code in it."""
    number = str(next(_accounts))
    credentials = {"aws_access_key_id": number, "aws_secret_access_key": "test"}
    where = {"endpoint_url": endpoint, "region_name": REGION, **credentials}
    return process(endpoint) | {"AWS_ACCESS_KEY_ID": number} | cloud.create(**where)


def use_account(environment: Mapping[str, str]) -> None:
    """Switch this process to an account, and clear its caches."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= environment
    boto3.DEFAULT_SESSION = None
    # Imported late, because Powertools reads the environment when it is imported.
    from usage_billing.platform import caches  # noqa: PLC0415

    caches.clear_all()


def subscribe(*names: str) -> None:
    """Create subscriptions with these ids, all of the same user and on the same plan."""
    from usage_billing.kernel.instants import soon  # noqa: PLC0415 - after `use_account`
    from usage_billing.plans import store as quota_store  # noqa: PLC0415
    from usage_billing.plans.model import Quota  # noqa: PLC0415
    from usage_billing.platform import clock  # noqa: PLC0415
    from usage_billing.pricing.unit_price import UnitPriced  # noqa: PLC0415
    from usage_billing.subscriptions import store as subscription_store  # noqa: PLC0415 - after `use_account`
    from usage_billing.subscriptions.model import Subscription  # noqa: PLC0415

    quota_store.save_version(
        lambda now: Quota(
            plan_id=PLAN,
            usage_type=USAGE_TYPE,
            monthly_limit=INCLUDED,
            price=UnitPriced(UNIT_PRICE),
            unit_name=USAGE_TYPE,
            effective_from=soon(now),
            changed_by="bench",
            changed_at=now,
        ),
        clock.now,
    )
    for name in names:
        subscription_store.save_subscription(Subscription(subscription_id=name, user_id=USER, plan_id=PLAN))


def report(subscription: str, event_id: str) -> dict[str, Any]:
    """Return a typical event, as a service reports it."""
    return {
        "eventId": event_id,
        "userId": USER,
        "subscriptionId": subscription,
        "usageType": USAGE_TYPE,
        "quantity": 1,
        "occurredAt": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "metadata": METADATA,
    }


def request(path: str, body: Any) -> dict[str, Any]:
    """Return a POST as API Gateway passes it to a function (payload format 2.0), with an internal API key."""
    return {
        "version": "2.0",
        "routeKey": f"POST {path}",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"content-type": "application/json"} | INTERNAL,
        "requestContext": {
            "http": {"method": "POST", "path": path},
            "requestId": "JKJaXmPLvHcESHA=",
            "stage": "$default",
        },
        "body": json.dumps(body),
        "isBase64Encoded": False,
    }


def record_request(subscription: str, event_id: str) -> dict[str, Any]:
    return request("/api/usage/record", report(subscription, event_id))


def batch_request(subscription: str, event_ids: Iterator[str] | list[str]) -> dict[str, Any]:
    return request("/api/usage/batch", {"events": [report(subscription, each) for each in event_ids]})


def context(seconds: float = 900) -> Context:
    return Context(seconds)
