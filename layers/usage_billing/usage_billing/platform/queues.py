"""SQS: messages into any queue, and what a queue refuses."""

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


def send(url: str, body: str) -> None:
    """Put one message into any queue.

    Raises:
        QueueUnavailable: the queue did not take it.
    """
    for failure in send_batch(url, [{"MessageBody": body}]).values():
        raise failure


def send_batch(url: str, messages: list[dict[str, Any]]) -> dict[int, QueueUnavailable]:
    """The numbers of the messages that the queue did not take, and why."""
    entries = [{"Id": str(number), **message} for number, message in enumerate(messages)]
    try:
        answer = client().send_message_batch(QueueUrl=url, Entries=entries)
    except (BotoCoreError, ClientError) as error:
        logger.exception(LogEvent.QUEUE_UNAVAILABLE, queue=url)
        return dict.fromkeys(range(len(messages)), unavailable(error))
    failed = answer.get("Failed", [])
    if failed:
        logger.error(LogEvent.QUEUE_REFUSED_MESSAGES, queue=url, failed=failed)
    return {int(each["Id"]): unavailable(None) for each in failed}


def postpone(url: str, deliveries: Sequence[tuple[str, int]], deadline: Deadline = NEVER) -> None:
    """Let deliveries of a queue, by their receipts, come again in so many seconds.

    Nothing depends on it: what is not postponed comes again when the queue's visibility time-out is over.
    """
    for start in range(0, len(deliveries), MAX_MESSAGES):
        if deadline.has_passed:
            return
        entries = [
            {"Id": str(number), "ReceiptHandle": receipt, "VisibilityTimeout": seconds}
            for number, (receipt, seconds) in enumerate(deliveries[start : start + MAX_MESSAGES])
        ]
        try:
            answer = client().change_message_visibility_batch(QueueUrl=url, Entries=entries)
        except (BotoCoreError, ClientError) as error:
            logger.warning(LogEvent.DELIVERIES_NOT_POSTPONED, cause=repr(error))
            return
        if failed := answer.get("Failed"):
            logger.warning(LogEvent.DELIVERIES_NOT_POSTPONED, failed=failed)


def unavailable(cause: Exception | None) -> QueueUnavailable:
    error = QueueUnavailable("The queue did not take the event; send the same request again.")
    error.__cause__ = cause
    return error


@cached
def client() -> Any:
    return aws.client("sqs")
