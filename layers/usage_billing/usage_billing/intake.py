"""Taking in usage events: into their ledgers at once, or into the queue when a caller prefers or a ledger is hot.

A ledger that many write to at the same time costs each of them lost races. Its events spill over into the queue, whose
consumer writes up to 99 of them in one transaction, and that ends the contention. No event is refused because others
are busy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from usage_billing import catalog
from usage_billing.access import Caller
from usage_billing.errors import BillingError, LedgerBusy
from usage_billing.ledger import UsageEvent
from usage_billing.queueing import enqueue
from usage_billing.recording import Recorded, record_all, require_timely
from usage_billing.subscriptions import Subscription


@dataclass(frozen=True, slots=True)
class Queued:
    """The event is in the queue and will be recorded."""

    event: UsageEvent


Taken = Recorded | Queued | BillingError
"""What became of one event."""


def take(events: Sequence[UsageEvent], caller: Caller, now: datetime, *, respond_async: bool = False) -> list[Taken]:
    """Record events, or queue those whose ledger is hot, or queue them all; what became of each, in the order given."""
    if respond_async:
        return _queue_allowed(events, caller, now)
    taken: list[Taken] = list(record_all(events, lambda name: _subscription(name, caller), now, patient=False))
    spilled = [number for number, outcome in enumerate(taken) if isinstance(outcome, LedgerBusy)]
    if spilled:
        for number, outcome in zip(spilled, _queue([events[number] for number in spilled], now), strict=True):
            taken[number] = outcome
    return taken


def _queue_allowed(events: Sequence[UsageEvent], caller: Caller, now: datetime) -> list[Taken]:
    """Queue what the caller may record. For services that is not looked up: they may report before a database is up."""
    refused: dict[int, Taken] = {}
    for number, event in enumerate(events):
        try:
            require_timely(event, now)
            caller.require_own(event.user_id, partial(_subscription, event.subscription_id, caller))
        except BillingError as error:
            refused[number] = error
    allowed = [number for number in range(len(events)) if number not in refused]
    queued = dict(zip(allowed, _queue([events[number] for number in allowed], now), strict=True))
    return [refused.get(number) or queued[number] for number in range(len(events))]


def _queue(events: Sequence[UsageEvent], now: datetime) -> list[Taken]:
    return [failed or Queued(event) for event, failed in zip(events, enqueue(events, now), strict=True)]


def _subscription(subscription_id: str, caller: Caller) -> Subscription:
    return caller.reach(lambda: catalog.recent_subscription(subscription_id))
