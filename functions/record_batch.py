"""POST /api/usage/batch: record up to 500 usage events independently of each other."""

from http import HTTPStatus

from usage_billing.access.callers import ANY_ROLE, Scope
from usage_billing.platform import clock
from usage_billing.platform.deadline import Deadline
from usage_billing.usage import batches
from usage_billing.usage.api import MAX_BATCH_BYTES, BatchResults, UsageBatch
from usage_billing.usage.rejections import note_request
from usage_billing.web.parameters import PrefersAsync
from usage_billing.web.resolver import Api, Response, respond, response_doc

app = Api()


@app.post(
    "/api/usage/batch",
    allow=ANY_ROLE,
    scope=Scope.RECORD,
    max_bytes=MAX_BATCH_BYTES,
    on_refusal=note_request,
    responses={
        200: response_doc(
            BatchResults, "Each event is recorded, was already recorded, or is refused with its own problem"
        ),
        202: response_doc(BatchResults, "As for 200, but some events are in the queue and will be recorded later"),
    },
)
def record_batch(batch: UsageBatch, respond_async: PrefersAsync = False) -> Response[BatchResults]:
    deadline = Deadline.of(app.lambda_context)
    results = batches.ingest(batch, app.caller, clock.now(), respond_async=respond_async, deadline=deadline)
    return respond(results, HTTPStatus.ACCEPTED if results.totals.queued else HTTPStatus.OK)


handler = app.handler
