"""Show the events that could not be recorded, and send them back to be recorded.

python -m scripts.redrive [--list] [--stack NAME]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
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

FRUITLESS_RECEIVES = 10
"""After so many in a row that give nothing but what died meanwhile, nothing else can be expected."""


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
    parser.add_argument("--stack", default=os.environ.get("STACK"), help="a deployed stack's name (default: $STACK)")
    return parser.parse_args()


def _show(queues: SQSClient, dead: str) -> None:
    messages = list(_messages(queues, dead))
    for message in messages:
        print(f"{_reason(message)}\n  {message['Body']}")
    _show_again(queues, dead, messages)
    _summarise(messages, "dead")


def _send_back(queues: SQSClient, dead: str, alive: str) -> None:
    """A message is sent before it is deleted: one that is then in both queues is recorded once all the same.

    What dies again meanwhile is a new message. It is left for the next time: sent back at once, it could go round for
    ever. The clock is good enough for that, since AWS refuses requests of a clock that is minutes wrong.
    """
    sent = []
    for message in _messages(queues, dead, until=time.time()):
        queues.send_message(QueueUrl=alive, MessageBody=message["Body"])
        queues.delete_message(QueueUrl=dead, ReceiptHandle=message["ReceiptHandle"])
        sent.append(message)
    _summarise(sent, "sent back")


def _messages(queues: SQSClient, url: str, until: float | None = None) -> Iterator[MessageTypeDef]:
    """Those that are there and were sent by `until`; later ones are hidden meanwhile and shown again in the end."""
    seen: set[str] = set()
    left: list[MessageTypeDef] = []
    fruitless = 0
    try:
        while fruitless < FRUITLESS_RECEIVES and (messages := _received(queues, url)):
            fresh = [message for message in messages if message["MessageId"] not in seen]
            if not fresh:
                return
            seen |= {message["MessageId"] for message in fresh}
            wanted = [message for message in fresh if until is None or _sent_at(message) <= until]
            left += [message for message in fresh if message not in wanted]
            fruitless = 0 if wanted else fruitless + 1
            yield from wanted
    finally:
        _show_again(queues, url, left)


def _received(queues: SQSClient, url: str) -> list[MessageTypeDef]:
    answer = queues.receive_message(
        QueueUrl=url,
        MaxNumberOfMessages=10,
        VisibilityTimeout=HIDDEN_SECONDS,
        WaitTimeSeconds=1,
        MessageAttributeNames=["All"],
        MessageSystemAttributeNames=["SentTimestamp"],
    )
    return answer.get("Messages", [])


def _sent_at(message: MessageTypeDef) -> float:
    return int(message["Attributes"]["SentTimestamp"]) / 1000


def _show_again(queues: SQSClient, url: str, messages: list[MessageTypeDef]) -> None:
    """Those that cannot be shown, perhaps because they are long since visible, are so by themselves in time."""
    for start in range(0, len(messages), 10):
        queues.change_message_visibility_batch(
            QueueUrl=url,
            Entries=[
                {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 0}
                for number, message in enumerate(messages[start : start + 10])
            ],
        )


def _reason(message: MessageTypeDef) -> str:
    attributes = message.get("MessageAttributes", {})
    said = [attributes[name]["StringValue"] for name in ("code", "detail") if name in attributes]
    return ": ".join(said) or "not recorded in sixteen deliveries"


def _summarise(messages: list[MessageTypeDef], done: str) -> None:
    reasons = Counter(_reason(message).partition(":")[0] for message in messages)
    details = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    print(f"{len(messages)} messages {done}" + (f": {details}" if details else ""))


if __name__ == "__main__":
    sys.exit(main())
