"""Quotas: what a plan includes of a usage type, and the price of each unit beyond. Pure."""

from dataclasses import dataclass
from decimal import Decimal

from usage_billing.pricing.terms import Terms


@dataclass(frozen=True, slots=True)
class Quota:
    """A plan's terms for a usage type: the units included each month and the price of each one beyond."""

    plan_id: str
    usage_type: str
    monthly_limit: Decimal
    unit_price: Decimal
    unit_name: str
    currency: str = "USD"

    @property
    def terms(self) -> Terms:
        return Terms(
            plan_id=self.plan_id,
            included=self.monthly_limit,
            unit_price=self.unit_price,
            unit_name=self.unit_name,
            currency=self.currency,
        )
