"""Quotas in requests and responses."""

from usage_billing.kernel.fields import Amount, Limit, PrintableText, Strict, UnitPrice
from usage_billing.kernel.identifiers import Identifier
from usage_billing.kernel.money import Currency, shown_price
from usage_billing.plans import model
from usage_billing.pricing.unit_price import UnitPriced
from usage_billing.web.base_models import Page, Request, require_same


class QuotaTerms(Request):
    """A quota. Its plan and usage type are in the path; the body may repeat them."""

    plan_id: Identifier | None = None
    usage_type: Identifier | None = None
    monthly_limit: Limit
    unit_price: UnitPrice
    unit_name: PrintableText
    currency: Currency = "USD"

    def quota(self, plan_id: str, usage_type: str) -> model.Quota:
        require_same("planId", self.plan_id, plan_id)
        require_same("usageType", self.usage_type, usage_type)
        return model.Quota(
            plan_id=plan_id,
            usage_type=usage_type,
            monthly_limit=self.monthly_limit,
            price=UnitPriced(self.unit_price),
            unit_name=self.unit_name,
            currency=self.currency,
        )


class Quota(Strict):
    """A plan's terms for a usage type: the units included each month, and the price of a unit of overage."""

    plan_id: Identifier
    usage_type: Identifier
    monthly_limit: Limit
    unit_price: Amount | None
    unit_name: PrintableText
    currency: Currency = "USD"

    @classmethod
    def of(cls, stored: model.Quota) -> "Quota":
        return cls(
            plan_id=stored.plan_id,
            usage_type=stored.usage_type,
            monthly_limit=stored.monthly_limit,
            unit_price=shown_price(stored.price.unit_price, stored.currency),
            unit_name=stored.unit_name,
            currency=stored.currency,
        )


class Quotas(Page):
    quotas: list[Quota]
