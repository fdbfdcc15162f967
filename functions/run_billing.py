"""Daily billing runs, and the queue of the run segments that an invocation had no time for."""

from typing import Any

from usage_billing.billing.model import RunSegment
from usage_billing.billing.run_invocation import resume, start_scheduled
from usage_billing.platform.observability import LambdaContext, observed


@observed
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Resume runs for messages of the queue. Any other event, from the schedule or an operator, starts a run."""
    if "Records" not in event:
        start_scheduled(event, context)
        return
    for segment in [RunSegment.model_validate_json(message["body"]) for message in event["Records"]]:
        resume(segment, context)
