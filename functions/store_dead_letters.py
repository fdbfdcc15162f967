"""Consumer of the dead-letter queue of usage events. It moves them to the table that holds all dead events."""

from typing import Any

from usage_billing.platform import clock
from usage_billing.platform.deadline import Deadline
from usage_billing.platform.observability import LambdaContext, observed
from usage_billing.usage.queue_consumer import Message, dead_letter_undelivered


@observed
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Store the events and return the messages that SQS must deliver again."""
    messages = [Message(each["messageId"], each["body"], each["receiptHandle"]) for each in event["Records"]]
    retry = dead_letter_undelivered(messages, clock.now(), Deadline.of(context))
    return {"batchItemFailures": [{"itemIdentifier": name} for name in retry]}
