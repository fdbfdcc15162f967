"""Billing runs in a Lambda invocation: start or resume one, within its time, with its report, logs and metrics."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

from aws_lambda_powertools.utilities.typing import LambdaContext

from usage_billing.billing import run_report_store, run_reports, runner
from usage_billing.billing.model import RunSegment, RunTotals
from usage_billing.billing.run_reports import Attempt, RunStatus
from usage_billing.billing.runner import whole_run
from usage_billing.kernel.instants import instant
from usage_billing.kernel.numbers import as_text
from usage_billing.platform import clock
from usage_billing.platform.config import settings
from usage_billing.platform.deadline import Deadline
from usage_billing.platform.failures import as_billing_error
from usage_billing.platform.log_events import LogEvent
from usage_billing.platform.observability import (
    BILLING_FAILURES,
    BILLING_RUN_SECONDS,
    BILLING_RUNS,
    INVOICE_ITEMS,
    LEDGERS_SETTLED,
    QUOTA_MISSING,
    count,
    logger,
    record_billed_amount,
    record_duration,
)
from usage_billing.platform.queues import send
from usage_billing.platform.retries import attempts

SAVE_INTERVAL_SECONDS = 10.0
"""Seconds between two saves of an invocation's progress. A report can miss as much if the invocation is cut off."""

MAX_SAVE_ATTEMPTS = 2
"""Maximum attempts to save the final state, each with the retries of the SDK."""


def start(subscription_id: str | None, context: LambdaContext) -> RunTotals:
    """Run billing for all ledgers, or for one subscription. Raises the same errors as `resume`."""
    return _run(whole_run(subscription_id), context, clock.now())


def start_scheduled(event: Mapping[str, Any], context: LambdaContext) -> RunTotals:
    """Run billing for all ledgers. If the same event is delivered again, after a crash, it continues the same run."""
    try:
        run_id, started_at = UUID(event["id"]).hex, instant(event["time"])
    except (KeyError, TypeError, ValueError, AttributeError):
        run_id, started_at = uuid4().hex, clock.now()  # not the schedule: an operator invoked the function
    return _run(whole_run(run_id=run_id), context, started_at)


def resume(segment: RunSegment, context: LambdaContext) -> RunTotals:
    """Run billing for a segment, as far as this invocation has time. The rest is sent to the queue.

    Raises:
        QueueUnavailable: some of the rest could not be sent. Ledgers that were settled stay settled.
        DatabaseUnavailable: the report could not be saved. Ledgers that were settled stay settled.
    """
    return _run([segment], context, None)


def _run(segments: Sequence[RunSegment], context: LambdaContext, run_started_at: datetime | None) -> RunTotals:
    started = monotonic()
    reporter = _Reporter(segments[0], run_started_at)
    reporter.begin()
    totals = runner.run(
        segments,
        now=clock.now,
        deadline=Deadline.of(context),
        hand_over=_enqueue,
        progress=reporter.progress,
    )
    _log_totals(totals, segments[0], monotonic() - started)
    try:
        reporter.end(totals)
        _log_status(totals)
    except Exception as error:
        failure = as_billing_error(error)
        logger.exception(LogEvent.RUN_REPORT_NOT_SAVED, run_id=totals.run_id, code=failure.code)
        raise failure from failure.__cause__
    if totals.hand_over_error:
        raise totals.hand_over_error
    return totals


def _enqueue(segment: RunSegment) -> None:
    body = segment.model_dump_json(by_alias=True, exclude_none=True)
    send(settings().billing_queue_url, body)


class _Reporter:
    """Saves the row of this invocation in the run's report."""

    def __init__(self, segment: RunSegment, run_started_at: datetime | None) -> None:
        self._segment = segment
        self._run_started_at = run_started_at
        """The start of the run, until the run is added to the list of runs. Then None."""
        self._attempt_id = uuid4().hex
        self._started_at = clock.now()
        self._revision = 0
        self._saved = monotonic()

    def begin(self) -> None:
        """Save that the invocation has begun. If that fails, billing goes on all the same."""
        attempt = self._attempt(RunTotals(self._segment.run_id), ended=False)
        try:
            self._save(attempt)
        except Exception as error:
            self._not_saved(error)

    def progress(self, totals: RunTotals) -> Callable[[], None] | None:
        """Return a function that saves the progress, if it is time to save it."""
        if monotonic() - self._saved < SAVE_INTERVAL_SECONDS:
            return None
        self._saved = monotonic()
        attempt = self._attempt(run_reports.snapshot(totals), ended=False)

        def save() -> None:
            try:
                run_report_store.save(attempt)
            except Exception as error:
                self._not_saved(error)

        return save

    def end(self, totals: RunTotals) -> None:
        """Save the final totals of the invocation. Raises PynamoDB's exception if that fails."""
        attempt = self._attempt(totals, ended=True)
        for number in attempts(MAX_SAVE_ATTEMPTS):
            try:
                return self._save(attempt)
            except Exception:
                if number == MAX_SAVE_ATTEMPTS:
                    raise
        raise AssertionError

    def _save(self, attempt: Attempt) -> None:
        if self._run_started_at is not None:
            run_report_store.add_to_list(self._segment.run_id, self._run_started_at)
            self._run_started_at = None
        run_report_store.save(attempt)

    def _attempt(self, totals: RunTotals, *, ended: bool) -> Attempt:
        self._revision += 1
        return Attempt(
            run_id=self._segment.run_id,
            segment_id=self._segment.segment_id,
            attempt_id=self._attempt_id,
            subscription_id=self._segment.subscription_id,
            started_at=self._started_at,
            updated_at=clock.now(),
            revision=self._revision,
            ended=ended,
            totals=totals,
        )

    def _not_saved(self, error: Exception) -> None:
        code = as_billing_error(error).code
        logger.warning(LogEvent.RUN_PROGRESS_NOT_SAVED, run_id=self._segment.run_id, code=code, cause=repr(error))


def _log_totals(totals: RunTotals, segment: RunSegment, duration: float) -> None:
    """Log and count the totals of this invocation."""
    count(LEDGERS_SETTLED, totals.settled)
    count(INVOICE_ITEMS, totals.items)
    count(BILLING_FAILURES, totals.failures)
    count(QUOTA_MISSING, len(totals.quotas_missing))
    record_duration(BILLING_RUN_SECONDS, duration)
    for currency, amount in totals.amounts.items():
        record_billed_amount(currency, amount)
    for (plan_id, usage_type), ledgers in sorted(totals.quotas_missing.items()):
        logger.warning(
            LogEvent.QUOTA_MISSING, run_id=totals.run_id, plan_id=plan_id, usage_type=usage_type, ledgers=ledgers
        )
    logger.info(
        LogEvent.RUN_SEGMENT_COMPLETED,
        run_id=totals.run_id,
        segment_id=segment.segment_id,
        ledgers_settled=totals.settled,
        items_created=totals.items,
        ledgers_unrated=totals.unrated,
        failures=totals.failures,
        handed_over=len(totals.handed_over),
        totals=_as_texts(totals.amounts),
        seconds=round(duration, 3),
    )


def _log_status(totals: RunTotals) -> None:
    """Log the status of the run. Count the run once all its segments are completed and nothing failed."""
    if totals.handed_over:
        logger.info(LogEvent.RUN_CONTINUES, run_id=totals.run_id, handed_over=len(totals.handed_over))
        return
    report = run_report_store.report(totals.run_id, clock.now())
    if report.status != RunStatus.COMPLETED:
        logger.info(LogEvent.RUN_CONTINUES, run_id=totals.run_id, segments_under_way=report.segments_under_way)
        return
    # Two segments that end at once may both count the run. That does no harm: the alarm is active if there was none.
    if report.is_clean and report.subscription_id is None:
        count(BILLING_RUNS)
    logger.info(
        LogEvent.RUN_COMPLETED,
        run_id=report.run_id,
        ledgers_settled=report.settled,
        items_created=report.items,
        ledgers_unrated=report.unrated,
        failures=report.failures,
        interruptions=report.interruptions,
        totals=_as_texts(report.amounts),
    )


def _as_texts(amounts: Mapping[str, Any]) -> dict[str, str]:
    return {currency: as_text(amount) for currency, amount in sorted(amounts.items())}
