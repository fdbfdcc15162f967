"""Structured logs and metrics: the names of the metrics, and the functions that write them.

Metrics go to CloudWatch through the log (embedded metric format). Their dimension `service` is the stack's name.
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

ALARM_METRICS = frozenset(
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
"""The metrics with an alarm in infra/alarms.yaml; a test compares the two."""

DASHBOARD_METRICS = frozenset(
    {
        EVENTS_RECORDED,
        EVENTS_REPLAYED,
        EVENTS_QUEUED,
        LEDGER_RETRIES,
        LEDGERS_SETTLED,
        INVOICE_ITEMS,
        BILLING_RUN_SECONDS,
        BILLED_AMOUNT,
        AUTHENTICATION_FAILURES,  # anybody can cause them at any time
    }
)
"""The metrics that are only shown on the dashboard."""

ResultT = TypeVar("ResultT")

logger = Logger()
metrics = Metrics()


def observed(handler: Callable[[dict[str, Any], Any], ResultT]) -> Callable[[dict[str, Any], Any], ResultT]:
    """Return a Lambda handler whose log lines have the request's id and whose metrics are written when it ends.

    An error that the handler did not expect is counted and raised again. A decorator.
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

    # The function's modules are loaded now. The garbage collector need never look through them again.
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    with_context: Callable[[dict[str, Any], Any], ResultT] = logger.inject_lambda_context(clear_state=True)(handle)
    return with_context


_adding = Lock()


def count(name: str, value: int = 1) -> None:
    """Add `value` to a counter. Thread-safe."""
    with _adding:
        metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)


def record_duration(name: str, seconds: float) -> None:
    """Record a duration. Call from the main thread only."""
    metrics.add_metric(name=name, unit=MetricUnit.Seconds, value=seconds)


def count_rejected(code: str, events: int, *, in_total: bool) -> None:
    """Count rejected events by code, and with `in_total` in the total too.

    The alarm watches the total, because an alarm cannot watch a metric whose dimension varies.
    """
    if in_total:
        count(EVENTS_REJECTED, events)
    with single_metric(name=EVENTS_REJECTED, unit=MetricUnit.Count, value=events) as metric:
        metric.add_dimension(name="service", value=metrics.service or "")
        metric.add_dimension(name="code", value=code)


def record_billed_amount(currency: str, amount: Decimal) -> None:
    """Record billed money by currency. The metric is a float and only for display; the invoice items are exact."""
    with single_metric(name=BILLED_AMOUNT, unit=MetricUnit.Count, value=float(amount)) as metric:
        metric.add_dimension(name="service", value=metrics.service or "")
        metric.add_dimension(name="currency", value=currency)
