"""Records single events without a queue or a request, for tests of what happens in the ledger."""

from datetime import datetime

from usage_billing.kernel.errors import BillingError
from usage_billing.usage.admission import Admission
from usage_billing.usage.events import UsageEvent
from usage_billing.usage.outcomes import Recorded
from usage_billing.usage.recording import record_all


def record(event: UsageEvent, now: datetime) -> Recorded:
    """Record an event. Raise the BillingError with which it is refused, if it is."""
    [outcome] = record_all([event], Admission(now))
    if isinstance(outcome, BillingError):
        raise outcome
    return outcome
