"""Consumer of the usage queue. Events of the same ledger share transactions."""

from typing import Any

from usage_billing.platform import clock
from usage_billing.platform.deadline import Deadline
from usage_billing.platform.observability import LambdaContext, observed
from usage_billing.usage.queue_consumer import Message, consume


@observed
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Record the events and return the messages that SQS must deliver again."""
    retry = consume([_message(record) for record in event["Records"]], clock.now(), Deadline.of(context))
    return {"batchItemFailures": [{"itemIdentifier": name} for name in retry]}


def _message(record: dict[str, Any]) -> Message:
    receives = int(record["attributes"]["ApproximateReceiveCount"])
    return Message(record["messageId"], record["body"], record["receiptHandle"], receives)
