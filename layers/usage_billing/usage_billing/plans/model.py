"""Quotas: what a plan includes of a usage type, and the price of overage. Pure."""

from dataclasses import dataclass
from decimal import Decimal

from usage_billing.pricing.price_models import PriceModel
from usage_billing.pricing.terms import Terms


@dataclass(frozen=True, slots=True)
class Quota:
    """A plan's terms for a usage type: the units included each month, and the price of overage."""

    plan_id: str
    usage_type: str
    monthly_limit: Decimal
    price: PriceModel
    unit_name: str
    currency: str = "USD"

    @property
    def terms(self) -> Terms:
        return Terms(
            plan_id=self.plan_id,
            included=self.monthly_limit,
            price=self.price,
            unit_name=self.unit_name,
            currency=self.currency,
        )
