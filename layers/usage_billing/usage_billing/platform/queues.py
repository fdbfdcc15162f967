"""SQS: send messages to a queue, and postpone deliveries."""

from collections.abc import Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from usage_billing.kernel.errors import QueueUnavailable
from usage_billing.platform import aws
from usage_billing.platform.caches import cached
from usage_billing.platform.deadline import NEVER, Deadline
from usage_billing.platform.log_events import LogEvent
from usage_billing.platform.observability import logger

MAX_MESSAGES = 10
"""Maximum messages per call, a limit of SQS."""


def send(url: str, body: str) -> None:
    """Send one message.

    Raises:
        QueueUnavailable: the queue did not accept it.
    """
    for failure in send_batch(url, [{"MessageBody": body}]).values():
        raise failure


def send_batch(url: str, messages: list[dict[str, Any]]) -> dict[int, QueueUnavailable]:
    """Send messages, and return the errors of those that the queue did not accept, by their index."""
    entries = [{"Id": str(index), **message} for index, message in enumerate(messages)]
    try:
        response = client().send_message_batch(QueueUrl=url, Entries=entries)
    except (BotoCoreError, ClientError) as error:
        logger.exception(LogEvent.QUEUE_UNAVAILABLE, queue=url)
        return dict.fromkeys(range(len(messages)), unavailable(error))
    failed = response.get("Failed", [])
    if failed:
        logger.error(LogEvent.QUEUE_REFUSED_MESSAGES, queue=url, failed=failed)
    return {int(each["Id"]): unavailable(None) for each in failed}


def postpone(url: str, deliveries: Sequence[tuple[str, int]], deadline: Deadline = NEVER) -> None:
    """Postpone deliveries: pairs of a receipt handle and the seconds until the message is delivered again.

    Nothing depends on it: otherwise a message is delivered again when the queue's visibility timeout is over.
    """
    for start in range(0, len(deliveries), MAX_MESSAGES):
        if deadline.has_passed:
            return
        entries = [
            {"Id": str(index), "ReceiptHandle": receipt, "VisibilityTimeout": seconds}
            for index, (receipt, seconds) in enumerate(deliveries[start : start + MAX_MESSAGES])
        ]
        try:
            response = client().change_message_visibility_batch(QueueUrl=url, Entries=entries)
        except (BotoCoreError, ClientError) as error:
            logger.warning(LogEvent.DELIVERIES_NOT_POSTPONED, cause=repr(error))
            return
        if failed := response.get("Failed"):
            logger.warning(LogEvent.DELIVERIES_NOT_POSTPONED, failed=failed)


def unavailable(cause: Exception | None) -> QueueUnavailable:
    """Return the error for the caller of an event that the queue did not accept."""
    error = QueueUnavailable("The queue did not accept the event; send the same request again.")
    error.__cause__ = cause
    return error


@cached
def client() -> Any:
    return aws.client("sqs")
