"""Show the events that could not be recorded, and send them back to be recorded.

python -m scripts.redrive [--list] [--stack NAME]
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from scripts.progress import Failure
from scripts.stacks import DeployedStack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

HIDDEN_SECONDS = 120
"""How long a message that was looked at stays out of sight of whoever looks next."""


def main() -> int:
    arguments = _arguments()
    try:
        stack = DeployedStack.named(arguments.stack)
        queues = stack.session.client("sqs", endpoint_url=stack.endpoint)
        dead, alive = stack.outputs["UsageDeadLetterQueueUrl"], stack.outputs["UsageQueueUrl"]
        if arguments.list:
            _show(queues, dead)
        else:
            _send_back(queues, dead, alive)
    except (Failure, BotoCoreError, ClientError) as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Send events that could not be recorded back to the queue.")
    parser.add_argument("--list", action="store_true", help="only show them")
    parser.add_argument("--stack", default=os.environ.get("STACK"), help="a stack on AWS, not the private one")
    return parser.parse_args()


def _show(queues: SQSClient, dead: str) -> None:
    messages = list(_messages(queues, dead))
    for message in messages:
        print(f"{_reason(message)}\n  {message['Body']}")
        queues.change_message_visibility(QueueUrl=dead, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
    _summarise(messages, "dead")


def _send_back(queues: SQSClient, dead: str, alive: str) -> None:
    """A message is sent before it is deleted: one that is then in both queues is recorded once all the same."""
    sent = []
    for message in _messages(queues, dead):
        queues.send_message(QueueUrl=alive, MessageBody=message["Body"])
        queues.delete_message(QueueUrl=dead, ReceiptHandle=message["ReceiptHandle"])
        sent.append(message)
    _summarise(sent, "sent back")


def _messages(queues: SQSClient, url: str) -> Iterator[MessageTypeDef]:
    """Those that are there now; what dies again meanwhile is left for the next time."""
    seen: set[str] = set()
    while messages := queues.receive_message(
        QueueUrl=url,
        MaxNumberOfMessages=10,
        VisibilityTimeout=HIDDEN_SECONDS,
        WaitTimeSeconds=1,
        MessageAttributeNames=["All"],
    ).get("Messages"):
        fresh = [message for message in messages if message["MessageId"] not in seen]
        seen |= {message["MessageId"] for message in fresh}
        yield from fresh
        if not fresh:
            return


def _reason(message: MessageTypeDef) -> str:
    attributes = message.get("MessageAttributes", {})
    said = [attributes[name]["StringValue"] for name in ("code", "detail") if name in attributes]
    return ": ".join(said) or "not recorded in ten deliveries"


def _summarise(messages: list[MessageTypeDef], done: str) -> None:
    reasons = Counter(_reason(message).partition(":")[0] for message in messages)
    details = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    print(f"{len(messages)} messages {done}" + (f": {details}" if details else ""))


if __name__ == "__main__":
    sys.exit(main())
