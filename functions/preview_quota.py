"""POST /api/usage/quotas/preview: what quantities would cost with a quota, without storing it."""

from usage_billing.access.callers import OPERATORS
from usage_billing.plans.api import PreviewedCharges, QuotaPreview
from usage_billing.platform import clock
from usage_billing.web.resolver import Api

app = Api()


@app.post("/api/usage/quotas/preview", allow=OPERATORS)
def preview_quota(body: QuotaPreview) -> PreviewedCharges:
    return PreviewedCharges.of(body.terms(app.caller.sub, clock.now()), body.quantities)


handler = app.handler
