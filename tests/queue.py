"""Stands in for Lambda's poller: receives messages from the usage queue and delivers them to the consumer."""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import boto3

from tests import ledgers
from usage_billing.usage.consumer import Message, consume

Received = list[dict[str, Any]]


def receive(setting: str = "USAGE_QUEUE_URL") -> Received:
    """Receive all visible messages. They stay in the queue, but are invisible for ten minutes."""
    sqs = boto3.client("sqs")
    found: Received = []
    while messages := sqs.receive_message(
        QueueUrl=os.environ[setting], MaxNumberOfMessages=10, MessageAttributeNames=["All"], VisibilityTimeout=600
    ).get("Messages"):
        found += [dict(message) for message in messages]
    return found


def deliver(messages: Sequence[Mapping[str, Any]], now: datetime) -> list[str]:
    """Deliver messages to the consumer. Return the ids of the messages that it wants delivered again."""
    return consume([Message(each["MessageId"], each["Body"], each["ReceiptHandle"]) for each in messages], now)


def show_again(messages: Sequence[Mapping[str, Any]]) -> None:
    """Make received messages visible again at once."""
    sqs = boto3.client("sqs")
    for message in messages:
        sqs.change_message_visibility(
            QueueUrl=os.environ["USAGE_QUEUE_URL"], ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
        )


def delete(messages: Sequence[Mapping[str, Any]], setting: str = "USAGE_QUEUE_URL") -> None:
    sqs = boto3.client("sqs")
    for message in messages:
        sqs.delete_message(QueueUrl=os.environ[setting], ReceiptHandle=message["ReceiptHandle"])


def dead(prefix: str = "") -> list[dict[str, Any]]:
    """The rows of the dead events of all subscriptions whose id begins with `prefix`."""
    rows = [row for row in ledgers.rows("DEAD_EVENT_TABLE") if row["subscription_id"].startswith(prefix)]
    return sorted(rows, key=lambda row: (row["code"], row["subscription_id"], row["event_key"]))
