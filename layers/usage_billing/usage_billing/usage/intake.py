"""Take in usage events: record them at once, or queue them where the caller prefers that or the ledger is hot.

Callers that write to one ledger at the same time lose races, which cost all of them. So the events of a hot ledger go
to the queue. Its consumer writes up to 99 of them in one transaction, which ends the contention. No event is refused
because other callers are busy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from usage_billing.access.callers import Caller
from usage_billing.kernel.errors import BillingError, DatabaseUnavailable, FieldError, LedgerBusy, ValidationFailed
from usage_billing.platform.deadline import ENQUEUE_RESERVE, NEVER, RECORD_RESERVE, Deadline
from usage_billing.platform.failures import as_logged_error
from usage_billing.platform.log_events import LogEvent
from usage_billing.subscriptions import store as subscription_store
from usage_billing.subscriptions.model import Subscription
from usage_billing.usage.admission import Admission, require_timely
from usage_billing.usage.event_queue import enqueue
from usage_billing.usage.events import UsageEvent
from usage_billing.usage.outcomes import IntakeOutcome, Queued
from usage_billing.usage.rating import terms_for
from usage_billing.usage.recording import record_all


def with_recorded_id(event: UsageEvent, caller: Caller) -> UsageEvent:
    """Return the event under the id that it is recorded under. A customer's event is recorded under a longer id."""
    return replace(event, event_id=caller.event_id(event.event_id))


def ingest(
    events: Sequence[UsageEvent],
    caller: Caller,
    now: datetime,
    *,
    respond_async: bool = False,
    deadline: Deadline = NEVER,
) -> list[IntakeOutcome]:
    """Record events, and queue those of hot ledgers; or queue all of them. Return their outcomes in the order given.

    Events that are not begun when time runs out go to the queue too, if the caller is known to be allowed to send them.
    """
    recorded_by = deadline.less(RECORD_RESERVE)
    permissions = _Permissions(caller, now, recorded_by)
    if respond_async:
        return _queue_allowed(events, permissions, now, deadline)
    admission = Admission(now, caller.load_if_allowed, permissions.require_usage_type)
    outcomes = record_all(events, admission, patient=False, deadline=recorded_by)
    busy = [event for event, outcome in zip(events, outcomes, strict=True) if isinstance(outcome, LedgerBusy)]
    if not busy:
        return list(outcomes)
    queued = iter(_queue_allowed(busy, permissions, now, deadline))
    return [next(queued) if isinstance(outcome, LedgerBusy) else outcome for outcome in outcomes]


def _queue_allowed(
    events: Sequence[UsageEvent], permissions: "_Permissions", now: datetime, deadline: Deadline
) -> list[IntakeOutcome]:
    """Queue the events that the caller may record. Return all outcomes in the order given.

    For services nothing is looked up: they can report usage while the database does not answer.
    """
    refusals = [_refusal(event, permissions, now) for event in events]
    allowed = [event for event, refusal in zip(events, refusals, strict=True) if not refusal]
    failures = iter(enqueue(allowed, now, deadline.less(ENQUEUE_RESERVE)))
    return [refusal or next(failures) or Queued(event) for event, refusal in zip(events, refusals, strict=True)]


def _refusal(event: UsageEvent, permissions: "_Permissions", now: datetime) -> BillingError | None:
    """Return the reason why an event must not be queued."""
    caller = permissions.caller
    try:
        require_timely(event, now)
        if caller.is_customer:
            caller.require_user(event.user_id)
            permissions.require_usage_type(event, permissions.subscription(event.subscription_id))
    except Exception as error:
        return as_logged_error(error, LogEvent.EVENTS_NOT_RECORDED)
    return None


@dataclass(frozen=True, slots=True)
class _Permissions:
    """The subscriptions and usage types that a customer may report, each looked up once and before the deadline."""

    caller: Caller
    now: datetime
    deadline: Deadline
    _subscriptions: dict[str, Subscription] = field(default_factory=dict)
    _in_plan: dict[tuple[str, str], bool] = field(default_factory=dict)
    """For each plan and usage type, whether the plan has a quota for it."""

    def subscription(self, subscription_id: str) -> Subscription:
        """Return a subscription that the caller may use, read consistently once.

        Raises:
            Forbidden, SubscriptionNotFound: there is none.
            DatabaseUnavailable: there was no time to read it.
        """
        if subscription_id not in self._subscriptions:
            self._require_time()
            found = self.caller.load_if_allowed(lambda: subscription_store.subscription(subscription_id))
            self._subscriptions[subscription_id] = found
        return self._subscriptions[subscription_id]

    def require_usage_type(self, event: UsageEvent, subscription: Subscription) -> None:
        """Require that a customer's event is of a usage type of the plan. Services may open unrated ledgers.

        Raises:
            ValidationFailed: a customer reports another usage type.
            DatabaseUnavailable: there was no time to read the quota.
        """
        if not self.caller.is_customer:
            return
        name = subscription.plan_id, event.usage_type
        if name not in self._in_plan:
            self._require_time()
            period = subscription.cycle.period_of(event.when(self.now))
            self._in_plan[name] = terms_for(subscription, period, event.usage_type) is not None
        if not self._in_plan[name]:
            raise ValidationFailed(FieldError("usageType", "not_in_plan", "must be a usage type of the plan"))

    def _require_time(self) -> None:
        if self.deadline.has_passed:
            raise DatabaseUnavailable("The database took too long; send the same request again.")
