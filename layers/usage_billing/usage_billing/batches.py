"""A batch of reports: the faulty ones are told apart, the others taken in together."""

from datetime import datetime

from pydantic import ValidationError

from usage_billing import intake
from usage_billing.access import Caller
from usage_billing.answers import BatchResult, BatchResults
from usage_billing.http import invalid
from usage_billing.intake import Taken
from usage_billing.ledger import UsageEvent
from usage_billing.requests import ReportedUsage, UsageBatch


def take(batch: UsageBatch, caller: Caller, now: datetime, *, respond_async: bool) -> BatchResults:
    """What became of each event of `batch`, in the order sent. A bad event never fails its neighbours."""
    taken: dict[int, Taken] = {}
    events: dict[int, UsageEvent] = {}
    for number, report in enumerate(batch.events):
        try:
            events[number] = ReportedUsage.model_validate(report).event()
        except ValidationError as error:
            taken[number] = invalid([{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors()])
    outcomes = intake.take(list(events.values()), caller, now, respond_async=respond_async)
    taken |= dict(zip(events, outcomes, strict=True))
    return BatchResults.of(
        [BatchResult.of(_event_id(batch.events[number], events.get(number)), taken[number]) for number in sorted(taken)]
    )


def _event_id(report: dict[str, object], event: UsageEvent | None) -> str | None:
    """The id an event got, or the one that a faulty report claims."""
    claimed = report.get("eventId")
    return event.event_id if event else claimed if isinstance(claimed, str) else None
