"""Quotas: what a plan includes of a usage type, and the price of each unit beyond. Pure."""

from typing import Self

from pydantic import model_validator

from usage_billing.kernel.fields import Limit, PrintableText, Strict, UnitPrice
from usage_billing.kernel.identifiers import Identifier
from usage_billing.kernel.money import Currency, in_minor_units
from usage_billing.pricing.terms import Terms


class Quota(Strict):
    """A plan's terms for a usage type: the units included each month and the price of each one beyond."""

    plan_id: Identifier
    usage_type: Identifier
    monthly_limit: Limit
    unit_price: UnitPrice
    unit_name: PrintableText
    currency: Currency = "USD"

    @model_validator(mode="after")
    def _show_minor_units(self) -> Self:
        object.__setattr__(self, "unit_price", in_minor_units(self.unit_price, self.currency))
        return self

    @property
    def terms(self) -> Terms:
        return Terms(
            plan_id=self.plan_id,
            included=self.monthly_limit,
            unit_price=self.unit_price,
            unit_name=self.unit_name,
            currency=self.currency,
        )
