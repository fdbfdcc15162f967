"""Structured logs and metrics: what they are called, and how they leave the process.

Metrics go to CloudWatch through the log (embedded metric format), with the dimension `service`: the stack's name.
"""

import gc
from collections.abc import Callable
from decimal import Decimal
from threading import Lock
from typing import Any, TypeVar

from aws_lambda_powertools import Logger, Metrics, single_metric
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext as LambdaContext  # noqa: PLC0414 - for handlers

from usage_billing import THRESHOLDS
from usage_billing.kernel.errors import BillingError

EVENTS_RECORDED = "EventsRecorded"
EVENTS_REJECTED = "EventsRejected"
EVENTS_REPLAYED = "EventsReplayed"
EVENTS_QUEUED = "EventsQueued"
EVENTS_DELAYED = "EventsDelayed"
EVENTS_DEAD = "EventsDead"
EVENT_ID_CONFLICTS = "EventIdConflicts"
QUOTA_MISSING = "QuotaMissing"
LEDGER_RETRIES = "LedgerRetries"
LEDGERS_SETTLED = "LedgersSettled"
INVOICE_ITEMS = "InvoiceItems"
BILLING_FAILURES = "BillingFailures"
BILLING_RUNS = "BillingRuns"
BILLING_RUN_SECONDS = "BillingRunSeconds"
BILLED_AMOUNT = "BilledAmount"
AUTHENTICATION_FAILURES = "AuthenticationFailures"
DATABASE_FAILURES = "DatabaseFailures"
INTERNAL_ERRORS = "InternalErrors"

ALARMING = frozenset(
    {
        EVENTS_REJECTED,
        EVENTS_DELAYED,
        EVENTS_DEAD,
        EVENT_ID_CONFLICTS,
        QUOTA_MISSING,
        BILLING_FAILURES,
        BILLING_RUNS,
        DATABASE_FAILURES,
        INTERNAL_ERRORS,
    }
)
"""The metrics that infra/alarms.yaml has an alarm for; a test compares the two."""

INFORMATION = frozenset(
    {
        EVENTS_RECORDED,
        EVENTS_REPLAYED,
        EVENTS_QUEUED,
        LEDGER_RETRIES,
        LEDGERS_SETTLED,
        INVOICE_ITEMS,
        BILLING_RUN_SECONDS,
        BILLED_AMOUNT,
        AUTHENTICATION_FAILURES,  # anybody can cause them at will
    }
)
"""The metrics that are only for looking at, on the dashboard."""

ResultT = TypeVar("ResultT")

logger = Logger()
metrics = Metrics()


def observed(handler: Callable[[dict[str, Any], Any], ResultT]) -> Callable[[dict[str, Any], Any], ResultT]:
    """A Lambda handler whose log lines carry the request's id and whose metrics are written out when it ends.

    An error that nothing in the handler expected is counted here, and raised.
    """

    def handle(event: dict[str, Any], context: Any) -> ResultT:
        try:
            return handler(event, context)
        except BillingError:
            raise
        except Exception:
            count(INTERNAL_ERRORS)
            raise
        finally:
            if metrics.metric_set:
                metrics.flush_metrics()

    # This function is complete. What it is made of need never be looked through again.
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    injected: Callable[[dict[str, Any], Any], ResultT] = logger.inject_lambda_context(clear_state=True)(handle)
    return injected


_adding = Lock()


def count(name: str, value: int = 1) -> None:
    """Count something once more, or `value` times more. Safe under threads."""
    with _adding:
        metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)


def seconds(name: str, value: float) -> None:
    """Measure a duration. Call from the main thread only."""
    metrics.add_metric(name=name, unit=MetricUnit.Seconds, value=value)


def rejected(code: str, events: int, *, in_total: bool) -> None:
    """Count rejected events by code, and `in_total`, which the alarm watches: it takes no varying dimension."""
    if in_total:
        count(EVENTS_REJECTED, events)
    with single_metric(name=EVENTS_REJECTED, unit=MetricUnit.Count, value=events) as metric:
        metric.add_dimension(name="service", value=metrics.service or "")
        metric.add_dimension(name="code", value=code)


def billed(currency: str, amount: Decimal) -> None:
    """Measure billed money, a series a currency. A metric is a float: it is for looking, the items are the truth."""
    with single_metric(name=BILLED_AMOUNT, unit=MetricUnit.Count, value=float(amount)) as metric:
        metric.add_dimension(name="service", value=metrics.service or "")
        metric.add_dimension(name="currency", value=currency)
