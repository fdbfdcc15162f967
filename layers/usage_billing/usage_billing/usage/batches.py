"""Batches of reports: the invalid ones are rejected one by one, the others are taken in together."""

from datetime import datetime

from pydantic import ValidationError

from usage_billing.access.callers import Caller
from usage_billing.kernel.errors import BillingError, FieldError, ValidationFailed
from usage_billing.platform.deadline import Deadline
from usage_billing.usage import intake, rejections
from usage_billing.usage.api import BatchResult, BatchResults, ReportedUsage, UsageBatch
from usage_billing.usage.events import UsageEvent
from usage_billing.usage.rejections import EventIds, ids_of
from usage_billing.web.field_errors import field_names, validation_failed

MAX_FIELDS = 20
"""Maximum fields of a report. An event has eight, and the problem details would list each unknown field."""


def ingest(
    batch: UsageBatch, caller: Caller, now: datetime, *, respond_async: bool, deadline: Deadline
) -> BatchResults:
    """Take in a batch. Return the result of each event in the order sent. An invalid event never fails the others."""
    read = [_read(report, caller) for report in batch.events]
    events = [each for each in read if isinstance(each, UsageEvent)]
    ingested = iter(intake.ingest(events, caller, now, respond_async=respond_async, deadline=deadline))
    outcomes = [next(ingested) if isinstance(each, UsageEvent) else each for each in read]
    ids = [_ids(report, each, caller) for report, each in zip(batch.events, read, strict=True)]
    results = list(zip(ids, outcomes, strict=True))
    rejections.note([(each, outcome.code) for each, outcome in results if isinstance(outcome, BillingError)], caller)
    return BatchResults.of([BatchResult.of(each.event_id, outcome) for each, outcome in results])


def _read(report: object, caller: Caller) -> UsageEvent | ValidationFailed:
    """Return the event that one element of a batch reports, or what is wrong with the element."""
    try:
        return intake.with_recorded_id(_event(report), caller)
    except ValidationFailed as invalid_report:
        return invalid_report


def _event(report: object) -> UsageEvent:
    """Return the event that one element of a batch reports.

    Raises:
        ValidationFailed: the element is not a valid event.
    """
    if not isinstance(report, dict):
        raise ValidationFailed(FieldError("event", "invalid", "must be a JSON object"))
    if len(report) > MAX_FIELDS:
        raise ValidationFailed(FieldError("event", "invalid", f"must have at most {MAX_FIELDS} fields"))
    try:
        return ReportedUsage.model_validate(report).event()
    except ValidationError as error:
        in_body = [{**each, "loc": ("body", *each["loc"])} for each in error.errors()]
        raise validation_failed(in_body, field_names(ReportedUsage)) from None


def _ids(report: object, read: UsageEvent | ValidationFailed, caller: Caller) -> EventIds:
    """Return the ids of an event, or the ids that an invalid report claims."""
    return EventIds(read.event_id, read.subscription_id) if isinstance(read, UsageEvent) else ids_of(report, caller)
