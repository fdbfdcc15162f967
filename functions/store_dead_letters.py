"""The dead-letter queue of usage events: keep what SQS moved there, so that every dead event stands in one table."""

from typing import Any

from usage_billing.platform import clock
from usage_billing.platform.deadline import Deadline
from usage_billing.platform.observability import LambdaContext, observed
from usage_billing.usage.consumer import Message, keep_undelivered


@observed
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answers which messages are to be delivered again."""
    messages = [Message(each["messageId"], each["body"], each["receiptHandle"]) for each in event["Records"]]
    again = keep_undelivered(messages, clock.now(), Deadline.of(context))
    return {"batchItemFailures": [{"itemIdentifier": name} for name in again]}
