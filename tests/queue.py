"""Plays Lambda's poller: takes messages out of the queue of usage events and delivers them to the consumer."""

import os
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import boto3

from tests import ledgers
from usage_billing.usage.consumer import Message, consume

Received = list[dict[str, Any]]


def receive(setting: str = "USAGE_QUEUE_URL") -> Received:
    """The messages that are visible now; they stay in the queue, but out of sight."""
    sqs = boto3.client("sqs")
    found: Received = []
    while messages := sqs.receive_message(
        QueueUrl=os.environ[setting], MaxNumberOfMessages=10, MessageAttributeNames=["All"], VisibilityTimeout=600
    ).get("Messages"):
        found += messages
    return found


def deliver(messages: Sequence[dict[str, Any]], now: datetime) -> list[str]:
    """Have messages consumed; the ids of those that are to be delivered again."""
    return consume([Message(each["MessageId"], each["Body"], each["ReceiptHandle"]) for each in messages], now)


def show_again(messages: Sequence[dict[str, Any]]) -> None:
    """Let received messages be received again at once."""
    sqs = boto3.client("sqs")
    for message in messages:
        sqs.change_message_visibility(
            QueueUrl=os.environ["USAGE_QUEUE_URL"], ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
        )


def delete(messages: Sequence[dict[str, Any]], setting: str = "USAGE_QUEUE_URL") -> None:
    sqs = boto3.client("sqs")
    for message in messages:
        sqs.delete_message(QueueUrl=os.environ[setting], ReceiptHandle=message["ReceiptHandle"])


def dead(prefix: str = "") -> list[dict[str, Any]]:
    """The dead events of subscriptions whose id begins with `prefix`, as they stand in the table."""
    rows = [row for row in ledgers.rows("DEAD_EVENT_TABLE") if row["subscription_id"].startswith(prefix)]
    return sorted(rows, key=lambda row: (row["code"], row["subscription_id"], row["event_key"]))
