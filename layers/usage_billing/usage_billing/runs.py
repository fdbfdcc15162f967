"""A billing run in its surroundings: the clock, the invocation's time, the queue, the log and the metrics."""

from collections.abc import Sequence
from time import monotonic

from aws_lambda_powertools.utilities.typing import LambdaContext

from usage_billing import clock
from usage_billing.billing import RunTotals, Stretch, run, whole_run
from usage_billing.config import settings
from usage_billing.observability import (
    BILLING_FAILURES,
    BILLING_RUN_SECONDS,
    BILLING_RUNS,
    INVOICE_ITEMS,
    LEDGERS_SETTLED,
    QUOTA_MISSING,
    billed,
    count,
    logger,
    seconds,
)
from usage_billing.queueing import send
from usage_billing.values import as_text


def start(subscription_id: str | None, context: LambdaContext) -> RunTotals:
    """Run billing over everything, or over one subscription."""
    totals = go_on(whole_run(subscription_id), context)
    if subscription_id is None:
        count(BILLING_RUNS)
    return totals


def go_on(stretches: Sequence[Stretch], context: LambdaContext) -> RunTotals:
    """Run billing over `stretches`, in the time this invocation has; the rest goes to the queue.

    Raises:
        QueueUnavailable: some of the rest did not get there; what was settled stays settled.
    """
    started = monotonic()
    totals = run(
        stretches,
        now=clock.now,
        seconds_left=lambda: context.get_remaining_time_in_millis() / 1000,
        hand_over=_enqueue,
    )
    _report(totals, monotonic() - started)
    if totals.stranded:
        raise totals.stranded
    return totals


def _enqueue(stretch: Stretch) -> None:
    body = stretch.model_dump_json(by_alias=True, exclude_none=True)
    send(settings().billing_queue_url, body)


def _report(totals: RunTotals, duration: float) -> None:
    count(LEDGERS_SETTLED, totals.settled)
    count(INVOICE_ITEMS, totals.items)
    count(BILLING_FAILURES, totals.failures)
    count(QUOTA_MISSING, totals.unrated)
    seconds(BILLING_RUN_SECONDS, duration)
    for currency, amount in totals.amounts.items():
        billed(currency, amount)
    logger.info(
        "billing run continues" if totals.handed_over else "billing run completed",
        run_id=totals.run_id,
        ledgers_settled=totals.settled,
        items_created=totals.items,
        ledgers_unrated=totals.unrated,
        failures=totals.failures,
        handed_over=totals.handed_over,
        totals={currency: as_text(amount) for currency, amount in sorted(totals.amounts.items())},
        seconds=round(duration, 3),
    )
