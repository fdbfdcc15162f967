"""POST /api/usage/record: record a usage event and return how much of the quota is used."""

from http import HTTPStatus

from usage_billing.access.callers import ANY_ROLE, Scope
from usage_billing.kernel.errors import (
    BillingError,
    EventIdConflict,
    QueueUnavailable,
    SubscriptionInactive,
    SubscriptionNotFound,
    SubscriptionNotOwned,
    TooManyUsageTypes,
)
from usage_billing.platform import clock
from usage_billing.platform.deadline import Deadline
from usage_billing.usage import intake
from usage_billing.usage.api import QueuedEvent, RecordedUsage, ReportedUsage
from usage_billing.usage.outcomes import Queued
from usage_billing.usage.rejections import note_request
from usage_billing.web.parameters import IdempotencyKey, PrefersAsync
from usage_billing.web.resolver import Api, Response, respond, response_doc

app = Api()


@app.post(
    "/api/usage/record",
    allow=ANY_ROLE,
    scope=Scope.RECORD,
    on_refusal=note_request,
    raises=[
        SubscriptionNotFound,
        SubscriptionNotOwned,
        SubscriptionInactive,
        EventIdConflict,
        TooManyUsageTypes,
        QueueUnavailable,
    ],
    responses={
        201: response_doc(RecordedUsage, "Recorded"),
        200: response_doc(RecordedUsage, "Already recorded: nothing changes, and the original response is returned"),
        202: response_doc(QueuedEvent, "Queued, to be recorded later: the caller asked for it, or the ledger is busy"),
    },
)
def record_usage(
    report: ReportedUsage,
    idempotency_key: IdempotencyKey = None,
    respond_async: PrefersAsync = False,
) -> Response[RecordedUsage | QueuedEvent]:
    event = intake.with_recorded_id(report.event(idempotency_key), app.caller)
    [outcome] = intake.ingest(
        [event],
        app.caller,
        clock.now(),
        respond_async=respond_async,
        deadline=Deadline.of(app.lambda_context),
    )
    if isinstance(outcome, BillingError):
        raise outcome
    if isinstance(outcome, Queued):
        return respond(QueuedEvent(event_id=event.event_id), HTTPStatus.ACCEPTED)
    return respond(RecordedUsage.of(outcome), HTTPStatus.OK if outcome.replayed else HTTPStatus.CREATED)


handler = app.handler
