"""POST /api/usage/record: record a usage event and say how much of the plan is used."""

from http import HTTPStatus
from typing import Annotated

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Header

from usage_billing import catalog, clock
from usage_billing.access import ANYONE
from usage_billing.answers import RecordedUsage
from usage_billing.http import Api, answer
from usage_billing.recording import record
from usage_billing.requests import ReportedUsage
from usage_billing.values import EventId

app = Api()


@app.post("/api/usage/record", allow=ANYONE)
def record_usage(
    report: ReportedUsage, idempotency_key: Annotated[EventId | None, Header(alias="Idempotency-Key")] = None
) -> Response[RecordedUsage]:
    event = report.event(idempotency_key)
    subscription = app.caller.reach(lambda: catalog.recent_subscription(event.subscription_id))
    recorded = record(event, subscription, clock.now())
    return answer(RecordedUsage.of(recorded), HTTPStatus.OK if recorded.replayed else HTTPStatus.CREATED)


handler = app.handler
