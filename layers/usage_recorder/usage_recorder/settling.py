"""Settling: acknowledged events are deleted, refused ones are reported and parked, the others are sent again."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from usage_recorder.buffers import Entry, ParkedEntry
from usage_recorder.events import UsageEvent
from usage_recorder.outbox import Outbox
from usage_recorder.outcomes import Acknowledged, Outcome, Postponed, Problem, Rejected
from usage_recorder.parking import is_temporary, parked_entry
from usage_recorder.retries import Pauses

log = logging.getLogger("usage_recorder")

OnRejected = Callable[[UsageEvent, Problem], object]


class Settler:
    """The step that applies the outcomes of events to the outbox that holds them."""

    def __init__(self, outbox: Outbox, pauses: Pauses, on_rejected: OnRejected | None) -> None:
        self._outbox = outbox
        self._pauses = pauses
        self._on_rejected = on_rejected

    def resolve(self, entry: Entry, outcome: Outcome) -> Outcome:
        """Return `outcome`; but for a rejection with a temporary cause, that the event is postponed."""
        if not isinstance(outcome, Rejected):
            return outcome
        event, now = UsageEvent.from_json(entry.text), time.time()
        if not is_temporary(outcome.problem, event, datetime.now(UTC)):
            return outcome
        retry_at = self._pauses.retry_at(now if entry.since is None else entry.since, now)
        return outcome if retry_at is None else Postponed(outcome.problem, retry_at)

    def settle(self, batch: Sequence[Entry], outcomes: Sequence[Outcome]) -> None:
        """Delete acknowledged events, report rejected ones, and park these and the postponed ones."""
        acknowledged: list[Entry] = []
        refused: list[ParkedEntry] = []
        postponed: list[Postponed] = []
        for entry, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Acknowledged):
                acknowledged.append(entry)
            elif isinstance(outcome, Postponed):
                refused.append(parked_entry(entry, outcome.problem, time.time(), outcome.retry_at))
                postponed.append(outcome)
            elif isinstance(outcome, Rejected):
                self.report(entry.text, outcome.problem)
                refused.append(parked_entry(entry, outcome.problem, time.time(), None))
        discarded = self._outbox.settle(acknowledged, refused)
        if postponed:
            message = "%d usage events were refused for now and will be sent again, %s unsent in total: %s"
            log.warning(message, len(postponed), self._outbox.unsent_text(), postponed[0].problem)
        for each in discarded:
            self._discard(each)

    def release(self, entries: Iterable[Entry]) -> None:
        """Let events be sent again."""
        self._outbox.release(entries, self._pauses.postponed_first)

    def report(self, text: str, problem: Problem) -> None:
        """Log a rejected event and call `on_rejected`.

        It is called before the event is parked: if the process ends in between, the event is reported twice rather
        than never.
        """
        event = UsageEvent.from_json(text)
        log.error(
            "usage event %s was not recorded: %s (user %s, subscription %s, %s %s at %s)",
            *(event.event_id, problem, event.user_id, event.subscription_id),
            *(event.quantity, event.usage_type, event.when.isoformat()),
        )
        if self._on_rejected is not None:
            try:
                self._on_rejected(event, problem)
            except Exception:
                log.exception("on_rejected failed for usage event %s", event.event_id)

    def _discard(self, discarded: ParkedEntry) -> None:
        """Log an event that memory discarded, and report it unless that was done when it was rejected."""
        event_id = UsageEvent.from_json(discarded.text).event_id
        log.warning("usage event %s was discarded: too many are parked in memory", event_id)
        if discarded.retry_at is not None:
            self.report(discarded.text, Problem.from_json(discarded.problem))
