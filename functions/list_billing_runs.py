"""GET /api/billing/runs: billing runs of the last 400 days, scheduled runs included, newest first."""

from usage_billing.access.callers import OPERATORS
from usage_billing.billing import run_report_store
from usage_billing.billing.api import BillingRuns, BillingRunSummary
from usage_billing.kernel import cursors
from usage_billing.platform import clock
from usage_billing.platform.deadline import LIST_RESERVE, Deadline
from usage_billing.web.parameters import Cursor, PageSize
from usage_billing.web.resolver import Api

app = Api()


@app.get("/api/billing/runs", allow=OPERATORS)
def list_billing_runs(limit: PageSize = 10, cursor: Cursor = None) -> BillingRuns:
    now, deadline = clock.now(), Deadline.of(app.lambda_context).less(LIST_RESERVE)
    before = cursors.start_after(cursor)
    positions = run_report_store.newest(before, limit + 1)
    runs: list[BillingRunSummary] = []
    last = None
    for position in positions[:limit]:
        if last and deadline.has_passed:
            break
        last = position
        if report := run_report_store.report_at(position, now):
            runs.append(BillingRunSummary.of(report))
    return BillingRuns(runs=runs, next_cursor=cursors.encode(last) if last and last != positions[-1] else None)


handler = app.handler
