"""A batch of reports: the faulty ones are told apart, the others taken in together."""

import re
from collections.abc import Callable
from datetime import datetime

from pydantic import ValidationError

from usage_billing import intake
from usage_billing.access import Caller
from usage_billing.answers.batch import BatchResult, BatchResults
from usage_billing.errors import FieldError, ValidationFailed
from usage_billing.field_errors import field_names, invalid
from usage_billing.intake import Taken
from usage_billing.ledger import UsageEvent
from usage_billing.requests import ReportedUsage, UsageBatch
from usage_billing.values import EVENT_ID_PATTERN

MOST_FIELDS = 20
"""How many fields a report is looked at with: an event has eight, and each unknown one would be told."""

EVENT_ID = re.compile(EVENT_ID_PATTERN)


def take(
    batch: UsageBatch, caller: Caller, now: datetime, *, respond_async: bool, seconds_left: Callable[[], float]
) -> BatchResults:
    """What became of each event of `batch`, in the order sent. A bad event never fails its neighbours."""
    taken: dict[int, Taken] = {}
    events: dict[int, UsageEvent] = {}
    for number, report in enumerate(batch.events):
        try:
            events[number] = intake.named(_event(report), caller)
        except ValidationFailed as fault:
            taken[number] = fault
    outcomes = intake.take(list(events.values()), caller, now, respond_async=respond_async, seconds_left=seconds_left)
    taken |= dict(zip(events, outcomes, strict=True))
    return BatchResults.of(
        [BatchResult.of(_event_id(batch.events[number], events.get(number)), taken[number]) for number in sorted(taken)]
    )


def _event(report: object) -> UsageEvent:
    """The event that one element of a batch reports.

    Raises:
        ValidationFailed: it reports none.
    """
    if not isinstance(report, dict):
        raise ValidationFailed(FieldError("event", "invalid", "must be a JSON object"))
    if len(report) > MOST_FIELDS:
        raise ValidationFailed(FieldError("event", "invalid", f"must have at most {MOST_FIELDS} fields"))
    try:
        return ReportedUsage.model_validate(report).event()
    except ValidationError as error:
        faults = [{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors()]
        raise invalid(faults, field_names(ReportedUsage)) from None


def _event_id(report: object, event: UsageEvent | None) -> str | None:
    """The id an event got, or the one that a faulty report claims if it is an id at all."""
    if event:
        return event.event_id
    claimed = report.get("eventId") if isinstance(report, dict) else None
    return claimed if isinstance(claimed, str) and EVENT_ID.fullmatch(claimed) else None
