"""A batch of reports: the faulty ones are told apart, the others taken in together."""

from datetime import datetime

from pydantic import ValidationError

from usage_billing.access.callers import Caller
from usage_billing.kernel.errors import BillingError, FieldError, ValidationFailed
from usage_billing.platform.deadline import Deadline
from usage_billing.usage import intake, rejections
from usage_billing.usage.api import BatchResult, BatchResults, ReportedUsage, UsageBatch
from usage_billing.usage.events import UsageEvent
from usage_billing.usage.rejections import EventIds, ids_of
from usage_billing.web.field_errors import field_names, invalid

MAX_FIELDS = 20
"""How many fields a report is looked at with: an event has eight, and each unknown one would be told."""


def take(batch: UsageBatch, caller: Caller, now: datetime, *, respond_async: bool, deadline: Deadline) -> BatchResults:
    """What became of each event of `batch`, in the order sent. A bad event never fails its neighbors."""
    read = [_read(report, caller) for report in batch.events]
    events = [each for each in read if isinstance(each, UsageEvent)]
    taken = iter(intake.take(events, caller, now, respond_async=respond_async, deadline=deadline))
    outcomes = [next(taken) if isinstance(each, UsageEvent) else each for each in read]
    ids = [_ids(report, each, caller) for report, each in zip(batch.events, read, strict=True)]
    answers = list(zip(ids, outcomes, strict=True))
    rejections.note([(each, error.code) for each, error in answers if isinstance(error, BillingError)], caller)
    return BatchResults.of([BatchResult.of(each.event_id, outcome) for each, outcome in answers])


def _read(report: object, caller: Caller) -> UsageEvent | ValidationFailed:
    """Return the event that one element of a batch reports, or why it reports none."""
    try:
        return intake.named(_event(report), caller)
    except ValidationFailed as fault:
        return fault


def _event(report: object) -> UsageEvent:
    """The event that one element of a batch reports.

    Raises:
        ValidationFailed: it reports none.
    """
    if not isinstance(report, dict):
        raise ValidationFailed(FieldError("event", "invalid", "must be a JSON object"))
    if len(report) > MAX_FIELDS:
        raise ValidationFailed(FieldError("event", "invalid", f"must have at most {MAX_FIELDS} fields"))
    try:
        return ReportedUsage.model_validate(report).event()
    except ValidationError as error:
        faults = [{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors()]
        raise invalid(faults, field_names(ReportedUsage)) from None


def _ids(report: object, read: UsageEvent | ValidationFailed, caller: Caller) -> EventIds:
    """Return the ids of an event, or those that a faulty report claims."""
    return EventIds(read.event_id, read.subscription_id) if isinstance(read, UsageEvent) else ids_of(report, caller)
