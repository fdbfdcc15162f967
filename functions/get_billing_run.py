"""GET /api/billing/runs/{runId}: the report of a billing run, up to date while the run is still in progress."""

from usage_billing.access.callers import OPERATORS
from usage_billing.billing import run_report_store
from usage_billing.billing.api import BillingRunReport
from usage_billing.kernel.errors import RunNotFound
from usage_billing.platform import clock
from usage_billing.web.parameters import PathRunId
from usage_billing.web.resolver import Api

app = Api()


@app.get("/api/billing/runs/<run_id>", allow=OPERATORS, raises=[RunNotFound])
def get_billing_run(run_id: PathRunId) -> BillingRunReport:
    return BillingRunReport.of(run_report_store.report(run_id, clock.now()))


handler = app.handler
