"""GET /api/billing/runs: the billing runs of the last 400 days, newest first, scheduled ones included."""

from usage_billing import clock, cursors, run_reports
from usage_billing.access import OPERATORS
from usage_billing.answers.runs import BillingRuns, BillingRunSummary
from usage_billing.http import Api
from usage_billing.requests import Cursor, PageSize

app = Api()


@app.get("/api/billing/runs", allow=OPERATORS)
def list_billing_runs(limit: PageSize = 10, cursor: Cursor = None) -> BillingRuns:
    before = str(cursors.decode(cursor, str)[0]) if cursor else None
    places = run_reports.newest(before, limit + 1)
    page = places[:limit]
    return BillingRuns(
        runs=[BillingRunSummary.of(each) for each in run_reports.listed(page, clock.now())],
        next_cursor=cursors.encode(page[-1]) if len(places) > limit else None,
    )


handler = app.handler
