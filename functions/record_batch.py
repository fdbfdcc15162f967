"""POST /api/usage/batch: record up to 500 usage events, each on its own."""

from http import HTTPStatus

from usage_billing import batches
from usage_billing.access.callers import ANYONE, Scope
from usage_billing.answers.batch import BatchResults
from usage_billing.http import Api, Response, answer, says
from usage_billing.platform import clock
from usage_billing.requests import MOST_BATCH_BYTES, PrefersAsync, UsageBatch

app = Api()


@app.post(
    "/api/usage/batch",
    allow=ANYONE,
    scope=Scope.RECORD,
    most_bytes=MOST_BATCH_BYTES,
    takes_events=True,
    responses={
        200: says(BatchResults, "Each event is recorded, was recorded before, or is refused with a problem of its own"),
        202: says(BatchResults, "The same, and some events are in the queue: they will be recorded"),
    },
)
def record_batch(batch: UsageBatch, respond_async: PrefersAsync = False) -> Response[BatchResults]:
    left = clock.time_left(app.lambda_context)
    results = batches.take(batch, app.caller, clock.now(), respond_async=respond_async, seconds_left=left)
    return answer(results, HTTPStatus.ACCEPTED if results.totals.queued else HTTPStatus.OK)


handler = app.handler
