"""Quotas, their versions, and plans in requests and responses."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from usage_billing.access.callers import Caller
from usage_billing.kernel.errors import FieldError
from usage_billing.kernel.fields import (
    Amount,
    Bound,
    Instant,
    Limit,
    PrintableText,
    Strict,
    Total,
    UnitPrice,
    invalid_fields,
)
from usage_billing.kernel.identifiers import Identifier
from usage_billing.kernel.instants import soon
from usage_billing.kernel.money import Currency, shown_price, with_minor_digits
from usage_billing.kernel.numbers import subtract
from usage_billing.plans import model
from usage_billing.pricing.api import ChargeLine, Price
from usage_billing.pricing.model import PriceModel
from usage_billing.pricing.price_models import per_unit
from usage_billing.pricing.terms import WHOLE, Terms
from usage_billing.web.base_models import Page, Request, require_same


def _given(field: str) -> JsonDict:
    """Return the schema of an object in which a field is neither missing nor null."""
    return {"required": [field], "properties": {field: {"not": {"type": "null"}}}}


class QuotaTerms(Request):
    """A version of a quota. Its plan and usage type are in the path; the body may repeat them.

    A ledger takes the newest version that is in force when its period starts. Without `effectiveFrom`, a version is in
    force 15 seconds after the request.

    The price of overage is either `unitPrice`, the price of each unit, or a `price` of any model. The charge of a
    period is at most `maximumCharge`, and at least `minimumCharge` once the period is closed.
    """

    model_config = ConfigDict(json_schema_extra={"anyOf": [_given("unitPrice"), _given("price")]})

    plan_id: Identifier | None = None
    usage_type: Identifier | None = None
    monthly_limit: Limit
    unit_price: UnitPrice | None = None
    price: Price | None = None
    minimum_charge: UnitPrice | None = None
    maximum_charge: UnitPrice | None = None
    unit_name: PrintableText
    currency: Currency = "USD"
    effective_from: Bound | None = None

    @model_validator(mode="after")
    def _require_one_price(self) -> Self:
        """Reject two prices, unless both are the same: responses have both, and can be sent back."""
        if self.unit_price is None and self.price is None:
            raise invalid_fields(FieldError("unitPrice", "missing", "is required if there is no price"))
        if self.unit_price is not None and self.price and self.price.price() != per_unit(self.unit_price):
            message = "must be left out if there is a unitPrice, which is a price already"
            raise invalid_fields(FieldError("price", "contradiction", message))
        return self

    @model_validator(mode="after")
    def _require_order(self) -> Self:
        minimum, maximum = self.minimum_charge, self.maximum_charge
        if minimum is not None and maximum is not None and minimum > maximum:
            raise invalid_fields(FieldError("minimumCharge", "invalid", "must not be greater than maximumCharge"))
        return self

    @property
    def price_model(self) -> PriceModel:
        """The price of overage, in whichever of the two ways it was sent."""
        if self.price:
            return self.price.price()
        assert self.unit_price is not None
        return per_unit(self.unit_price)

    def quota(self, plan_id: str, usage_type: str, changed_by: str, now: datetime) -> model.Quota:
        require_same("planId", self.plan_id, plan_id)
        require_same("usageType", self.usage_type, usage_type)
        return model.Quota(
            plan_id=plan_id,
            usage_type=usage_type,
            monthly_limit=self.monthly_limit,
            price=self.price_model,
            unit_name=self.unit_name,
            currency=self.currency,
            minimum_charge=self.minimum_charge,
            maximum_charge=self.maximum_charge,
            effective_from=self.effective_from or soon(now),
            changed_by=changed_by,
            changed_at=now,
        )


class QuotaVersion(Strict):
    """A version of a plan's terms for a usage type: the units included each month, and the price of overage.

    `unitPrice` is null if the price of a unit depends on the quantity. `price` is always there.

    `changedBy` is the caller who wrote it. Users get null, because they are customers.
    """

    plan_id: Identifier
    usage_type: Identifier
    monthly_limit: Limit
    unit_price: Amount | None
    price: Price
    minimum_charge: Amount | None
    maximum_charge: Amount | None
    unit_name: PrintableText
    currency: Currency = "USD"
    effective_from: Instant
    changed_by: str | None
    changed_at: Instant

    @classmethod
    def of_version(cls, stored: model.Quota, caller: Caller) -> "QuotaVersion":
        return QuotaVersion(
            plan_id=stored.plan_id,
            usage_type=stored.usage_type,
            monthly_limit=stored.monthly_limit,
            unit_price=shown_price(stored.price.unit_price, stored.currency),
            price=stored.price.shown(stored.currency),
            minimum_charge=shown_price(stored.minimum_charge, stored.currency),
            maximum_charge=shown_price(stored.maximum_charge, stored.currency),
            unit_name=stored.unit_name,
            currency=stored.currency,
            effective_from=stored.effective_from,
            changed_by=None if caller.is_customer else stored.changed_by,
            changed_at=stored.changed_at,
        )


class Quota(QuotaVersion):
    """The version of a quota that is in force, or else the first one; `next` is the version that takes effect next."""

    next: QuotaVersion | None

    @classmethod
    def of(cls, stored: model.QuotaAt, caller: Caller) -> "Quota":
        following = stored.next and QuotaVersion.of_version(stored.next, caller)
        return cls(**dict(QuotaVersion.of_version(stored.version, caller)), next=following)


class Quotas(Page):
    quotas: list[Quota]


class QuotaVersions(Page):
    versions: list[QuotaVersion]


class DeletedQuotaVersion(QuotaVersion):
    """A version that was deleted before it took effect."""

    deleted_by: str
    deleted_at: Instant

    @classmethod
    def of(cls, stored: model.DeletedVersion, caller: Caller) -> "DeletedQuotaVersion":
        version = QuotaVersion.of_version(stored.version, caller)
        return cls(**dict(version), deleted_by=stored.deleted_by, deleted_at=stored.deleted_at)


class Plan(Strict):
    """A plan, and the first quota that fixed its currency: by whom, and when."""

    plan_id: Identifier
    currency: Currency
    changed_by: str
    changed_at: Instant

    @classmethod
    def of(cls, stored: model.Plan) -> "Plan":
        return cls(
            plan_id=stored.plan_id,
            currency=stored.currency,
            changed_by=stored.changed_by,
            changed_at=stored.changed_at,
        )


class Plans(Page):
    plans: list[Plan]


class QuotaPreview(Request):
    """A quota, and up to 100 quantities used in a period. Nothing is stored."""

    quota: QuotaTerms
    quantities: Annotated[list[Limit], Field(min_length=1, max_length=100)]

    def terms(self, changed_by: str, now: datetime) -> Terms:
        """Return the terms of the quota. It need not name a plan and a usage type: no price depends on them."""
        plan_id, usage_type = self.quota.plan_id or "preview", self.quota.usage_type or "preview"
        return self.quota.quota(plan_id, usage_type, changed_by, now).terms()


class PreviewedCharge(Strict):
    """The charge of a quantity: `charge` is exact, and `amount` is rounded as on an invoice.

    The amounts of the lines sum to `charge`.
    """

    quantity: Total
    included_quantity: Total
    billable_quantity: Total
    charge: Amount
    amount: Amount
    lines: list[ChargeLine]

    @classmethod
    def of(cls, terms: Terms, used: Decimal) -> "PreviewedCharge":
        charged = terms.overage(used)
        return cls(
            quantity=used,
            included_quantity=subtract(used, charged),
            billable_quantity=charged,
            charge=with_minor_digits(terms.charge(charged, WHOLE), terms.currency),
            amount=terms.amount(charged, WHOLE),
            lines=[ChargeLine.of(line, terms.currency) for line in terms.lines(charged, WHOLE)],
        )


class PreviewedCharges(Strict):
    """What quantities cost in a whole period, once it is closed: the minimum charge is already applied."""

    unit_name: str
    currency: str
    charges: list[PreviewedCharge]

    @classmethod
    def of(cls, terms: Terms, quantities: Sequence[Decimal]) -> "PreviewedCharges":
        charges = [PreviewedCharge.of(terms, quantity) for quantity in quantities]
        return cls(unit_name=terms.unit_name, currency=terms.currency, charges=charges)
