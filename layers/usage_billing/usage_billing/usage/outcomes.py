"""The outcome of recording an event, and the events of a batch that wait for theirs. Pure."""

from dataclasses import dataclass

from usage_billing.kernel.errors import BillingError
from usage_billing.usage.events import UsageEvent
from usage_billing.usage.ledger import Entry, Head, QuotaState


@dataclass(frozen=True, slots=True)
class Recorded:
    """An entry and its ledger's head. The head may be ahead of the entry."""

    entry: Entry
    head: Head
    replayed: bool

    @property
    def quota(self) -> QuotaState:
        """The quota as it stood right after the entry, so that a replay gets the same answer as the first request."""
        return QuotaState.of(self.entry.cumulative, self.head.terms)


@dataclass(frozen=True, slots=True)
class Queued:
    """The event is in the queue and will be recorded."""

    event: UsageEvent


Outcome = Recorded | BillingError
"""The outcome of recording an event: its entry, or the reason why it was not recorded."""

IntakeOutcome = Outcome | Queued
"""The outcome of taking in an event that a caller reports: as for recording, or the event is in the queue."""


class PendingEvent:
    """An event of a batch. One of several steps resolves it, once."""

    __slots__ = ("_outcome", "event")

    def __init__(self, event: UsageEvent) -> None:
        self.event = event
        self._outcome: Outcome | None = None

    @property
    def is_resolved(self) -> bool:
        return self._outcome is not None

    @property
    def outcome(self) -> Outcome:
        """The outcome. Raises RuntimeError if no step has resolved the event: none may be forgotten."""
        if self._outcome is None:
            raise RuntimeError(f"the event {self.event.event_id} was not resolved")
        return self._outcome

    def resolve(self, outcome: Outcome) -> None:
        """Set the outcome. Raises RuntimeError if there is one: an event that was recorded must not seem refused."""
        if self._outcome is not None:
            raise RuntimeError(f"the event {self.event.event_id} was resolved twice")
        self._outcome = outcome


Copies = list[PendingEvent]
"""The events of a batch that have the same subscription and event id, in order."""
