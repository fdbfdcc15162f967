"""A batch of reports: the faulty ones are told apart, the others taken in together."""

from datetime import datetime

from pydantic import ValidationError

from usage_billing.access.callers import Caller
from usage_billing.kernel.errors import BillingError, FieldError, ValidationFailed
from usage_billing.platform.deadline import Deadline
from usage_billing.usage import intake, rejections
from usage_billing.usage.api import BatchResult, BatchResults, ReportedUsage, UsageBatch
from usage_billing.usage.events import UsageEvent
from usage_billing.usage.intake import Taken
from usage_billing.usage.rejections import EventIds, ids_of
from usage_billing.web.field_errors import field_names, validation_failed

MAX_FIELDS = 20
"""How many fields a report is looked at with: an event has eight, and each unknown one would be told."""


def take(batch: UsageBatch, caller: Caller, now: datetime, *, respond_async: bool, deadline: Deadline) -> BatchResults:
    """What became of each event of `batch`, in the order sent. A bad event never fails its neighbors."""
    taken: dict[int, Taken] = {}
    events: dict[int, UsageEvent] = {}
    for number, report in enumerate(batch.events):
        try:
            events[number] = intake.named(_event(report), caller)
        except ValidationFailed as fault:
            taken[number] = fault
    outcomes = intake.take(list(events.values()), caller, now, respond_async=respond_async, deadline=deadline)
    taken |= dict(zip(events, outcomes, strict=True))
    ids = [_ids(report, events.get(number), caller) for number, report in enumerate(batch.events)]
    refused = {number: outcome for number, outcome in sorted(taken.items()) if isinstance(outcome, BillingError)}
    rejections.note([(ids[number], error.code) for number, error in refused.items()], caller)
    return BatchResults.of([BatchResult.of(each.event_id, taken[number]) for number, each in enumerate(ids)])


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
        raise validation_failed(faults, field_names(ReportedUsage)) from None


def _ids(report: object, event: UsageEvent | None, caller: Caller) -> EventIds:
    """Return the ids of an event, or those that a faulty report claims."""
    return EventIds(event.event_id, event.subscription_id) if event else ids_of(report, caller)
