"""Stands in for Lambda's poller: receives messages from the usage queue and delivers them to the consumer."""

import importlib
import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import boto3

from tests import ledgers
from tests.api import INTERNAL, Context
from usage_billing.platform import clock
from usage_billing.usage import queue_consumer
from usage_billing.usage.queue_consumer import Message

ASYNC = INTERNAL | {"prefer": "respond-async"}
"""The headers of a request that asks for its events to be queued."""

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
    return queue_consumer.consume(
        [Message(each["MessageId"], each["Body"], each["ReceiptHandle"]) for each in messages], now
    )


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


def take_messages(setting: str = "USAGE_QUEUE_URL") -> Received:
    """Take all visible messages out of a queue."""
    messages = receive(setting)
    delete(messages, setting)
    return messages


def queue_message(message_id: str, *events: dict[str, Any]) -> dict[str, Any]:
    """A message as the queue delivers it. Its events were accepted just now."""
    accepted = [each | {"acceptedAt": clock.now().isoformat()} for each in events]
    return {"MessageId": message_id, "Body": json.dumps({"events": accepted})}


def queue_messages(*events: dict[str, Any]) -> list[dict[str, Any]]:
    """A message for each event. Their ids are m0, m1 and so on."""
    return [queue_message(f"m{number}", each) for number, each in enumerate(events)]


def consume(
    messages: Sequence[Mapping[str, Any]], *, receives: int = 1, seconds: float = 300, function: str = "consume_usage"
) -> list[str]:
    """Invoke a function with messages that were delivered `receives` times, as Lambda's poller does.

    Return the ids of the messages that it wants delivered again.
    """
    attributes = {"ApproximateReceiveCount": str(receives)}
    records = [
        {
            "messageId": each["MessageId"],
            "receiptHandle": each.get("ReceiptHandle", "of a message that never was in the queue"),
            "body": each["Body"],
            "attributes": attributes,
        }
        for each in messages
    ]
    answer = importlib.import_module(function).handler({"Records": records}, Context(seconds))
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


def dead(prefix: str = "") -> list[dict[str, Any]]:
    """The rows of the dead events of all subscriptions whose id begins with `prefix`."""
    rows = [row for row in ledgers.rows("DEAD_EVENT_TABLE") if row["subscription_id"].startswith(prefix)]
    return sorted(rows, key=lambda row: (row["code"], row["subscription_id"], row["event_key"]))
