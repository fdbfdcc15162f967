"""Quotas in requests and responses."""

from usage_billing.kernel.fields import Limit, PrintableText, UnitPrice
from usage_billing.kernel.identifiers import (
    Identifier,
)
from usage_billing.kernel.money import Currency
from usage_billing.plans.model import Quota
from usage_billing.web.shapes import Page, Request, require_same


class QuotaTerms(Request):
    """A quota. Its plan and usage type stand in the path and may be repeated here."""

    plan_id: Identifier | None = None
    usage_type: Identifier | None = None
    monthly_limit: Limit
    unit_price: UnitPrice
    unit_name: PrintableText
    currency: Currency = "USD"

    def quota(self, plan_id: str, usage_type: str) -> Quota:
        require_same("planId", self.plan_id, plan_id)
        require_same("usageType", self.usage_type, usage_type)
        return Quota(
            plan_id=plan_id,
            usage_type=usage_type,
            monthly_limit=self.monthly_limit,
            unit_price=self.unit_price,
            unit_name=self.unit_name,
            currency=self.currency,
        )


class Quotas(Page):
    quotas: list[Quota]
