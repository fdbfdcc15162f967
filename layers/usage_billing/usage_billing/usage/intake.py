"""Taking in usage events: into their ledgers at once, or into the queue when a caller prefers or a ledger is hot.

A ledger that many write to at the same time costs each of them lost races. Its events spill over into the queue, whose
consumer writes up to 99 of them in one transaction, and that ends the contention. No event is refused because others
are busy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from usage_billing.access.callers import Caller
from usage_billing.kernel.errors import BillingError, DatabaseUnavailable, FieldError, LedgerBusy, ValidationFailed
from usage_billing.plans import store as quota_store
from usage_billing.platform.deadline import ENQUEUE_RESERVE, NEVER, RECORD_RESERVE, Deadline
from usage_billing.subscriptions import store as subscription_store
from usage_billing.subscriptions.model import Subscription
from usage_billing.usage.events import UsageEvent
from usage_billing.usage.outcomes import IntakeOutcome, Queued
from usage_billing.usage.queue import enqueue
from usage_billing.usage.recording import failed, record_all, require_timely


def named(event: UsageEvent, caller: Caller) -> UsageEvent:
    """The event under the id that it is recorded with, which is not what a customer calls it."""
    return replace(event, event_id=caller.event_id(event.event_id))


def take(
    events: Sequence[UsageEvent],
    caller: Caller,
    now: datetime,
    *,
    respond_async: bool = False,
    deadline: Deadline = NEVER,
) -> list[IntakeOutcome]:
    """Record events, or queue those whose ledger is hot, or queue them all; what became of each, in the order given.

    What is not begun when time runs out goes to the queue too, if the caller is known to be allowed to send it.
    """
    recorded_by = deadline.less(RECORD_RESERVE)
    gate = _Gate(caller, recorded_by)
    if respond_async:
        return _queue_allowed(events, gate, now, deadline)
    recorded = record_all(events, gate.find, now, admit=gate.admit, patient=False, deadline=recorded_by)
    busy = [event for event, outcome in zip(events, recorded, strict=True) if isinstance(outcome, LedgerBusy)]
    if not busy:
        return list(recorded)
    queued = iter(_queue_allowed(busy, gate, now, deadline))
    return [next(queued) if isinstance(outcome, LedgerBusy) else outcome for outcome in recorded]


def _queue_allowed(
    events: Sequence[UsageEvent], gate: "_Gate", now: datetime, deadline: Deadline
) -> list[IntakeOutcome]:
    """Queue what the caller may record. For services that is not looked up: they may report before a database is up."""
    refusals = [_refusal(event, gate, now) for event in events]
    allowed = [event for event, refusal in zip(events, refusals, strict=True) if not refusal]
    failures = iter(enqueue(allowed, now, deadline.less(ENQUEUE_RESERVE)))
    return [refusal or next(failures) or Queued(event) for event, refusal in zip(events, refusals, strict=True)]


def _refusal(event: UsageEvent, gate: "_Gate", now: datetime) -> BillingError | None:
    """Return why an event must not be queued."""
    try:
        require_timely(event, now)
        if gate.caller.is_customer:
            gate.caller.require_user(event.user_id)
            gate.admit(event, gate.find(event.subscription_id))
    except Exception as error:
        return failed(error)
    return None


@dataclass(frozen=True, slots=True)
class _Gate:
    """What the caller may record. Everything is looked up once, and nothing when no time is left."""

    caller: Caller
    deadline: Deadline
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    in_plan: dict[tuple[str, str], bool] = field(default_factory=dict)
    """Whether a plan has a quota for a usage type."""

    def find(self, subscription_id: str) -> Subscription:
        """A subscription that the caller may use.

        Raises:
            Forbidden, SubscriptionNotFound: there is none.
            DatabaseUnavailable: there was no time to look.
        """
        if subscription_id not in self.subscriptions:
            self._require_time()
            found = self.caller.reach(lambda: subscription_store.recent_subscription(subscription_id))
            self.subscriptions[subscription_id] = found
        return self.subscriptions[subscription_id]

    def admit(self, event: UsageEvent, subscription: Subscription) -> None:
        """Let services record any usage type, and customers those of their plan: others would open unrated ledgers.

        Raises:
            ValidationFailed: a customer reports another usage type.
            DatabaseUnavailable: there was no time to look.
        """
        if not self.caller.is_customer:
            return
        name = subscription.plan_id, event.usage_type
        if name not in self.in_plan:
            self._require_time()
            self.in_plan[name] = quota_store.terms(*name) is not None
        if not self.in_plan[name]:
            raise ValidationFailed(FieldError("usageType", "not_in_plan", "must be a usage type of the plan"))

    def _require_time(self) -> None:
        if self.deadline.has_passed:
            raise DatabaseUnavailable("The database took too long; send the same request again.")
