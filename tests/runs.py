"""Starts billing runs as EventBridge and SQS do, and makes the attempts that a run's report is composed of."""

import os
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest

from tests.conftest import REGION
from usage_billing.billing.model import RunSegment, RunTotals
from usage_billing.billing.run_reports import Attempt

LEDGERS = 12
"""The number of ledgers of the fixture `many_ledgers`."""

SCHEDULED = {
    "version": "0",
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "time": "2026-11-20T00:00:00Z",
    "region": REGION,
    "detail": {},
}
"""The event with which EventBridge starts the daily run."""

STARTED_AT = datetime(2026, 11, 21, tzinfo=UTC)


def sqs_event(*bodies: str) -> dict[str, Any]:
    """The event with which SQS delivers run segments."""
    return {"Records": [{"messageId": str(n), "eventSource": "aws:sqs", "body": body} for n, body in enumerate(bodies)]}


def take_segments() -> list[str]:
    """Take all run segments out of the billing queue."""
    sqs, url = boto3.client("sqs"), os.environ["BILLING_QUEUE_URL"]
    found = []
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            found.append(message["Body"])
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


def refuse_hand_over(_: RunSegment) -> None:
    """Fail the test if a run that has enough time hands over a segment."""
    pytest.fail("the run handed over a segment")


def make_attempt(revision: int = 1, *, segment: str = "first", name: str = "a", **changes: Any) -> Attempt:
    """An attempt at a segment of the run `run`. It has not ended and has done nothing, unless `changes` say so."""
    values: dict[str, Any] = {"ended": False, "totals": RunTotals("run"), "subscription_id": None}
    values |= {"started_at": STARTED_AT, "updated_at": STARTED_AT}
    return Attempt("run", segment, name, revision=revision, **values | changes)
