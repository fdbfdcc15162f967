"""The daily schedule, and the queue of stretches that a run had no time for."""

from typing import Any

from usage_billing.billing import Stretch
from usage_billing.observability import LambdaContext, observed
from usage_billing.runs import go_on, start


@observed
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """A message of the queue goes on with a run; anything else (the schedule, an operator) starts one."""
    if "Records" not in event:
        start(None, context)
        return
    go_on([Stretch.model_validate_json(message["body"]) for message in event["Records"]], context)
