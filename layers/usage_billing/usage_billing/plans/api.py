"""Quotas, their versions, and plans in requests and responses."""

from datetime import datetime

from usage_billing.access.callers import Caller
from usage_billing.kernel.fields import Amount, Bound, Instant, Limit, PrintableText, Strict, UnitPrice
from usage_billing.kernel.identifiers import Identifier
from usage_billing.kernel.instants import soon
from usage_billing.kernel.money import Currency, shown_price
from usage_billing.plans import model
from usage_billing.pricing.unit_price import UnitPriced
from usage_billing.web.base_models import Page, Request, require_same


class QuotaTerms(Request):
    """A version of a quota. Its plan and usage type are in the path; the body may repeat them.

    A ledger takes the newest version that is in force when its period starts. Without `effectiveFrom`, a version is in
    force 15 seconds after the request.
    """

    plan_id: Identifier | None = None
    usage_type: Identifier | None = None
    monthly_limit: Limit
    unit_price: UnitPrice
    unit_name: PrintableText
    currency: Currency = "USD"
    effective_from: Bound | None = None

    def quota(self, plan_id: str, usage_type: str, changed_by: str, now: datetime) -> model.Quota:
        require_same("planId", self.plan_id, plan_id)
        require_same("usageType", self.usage_type, usage_type)
        return model.Quota(
            plan_id=plan_id,
            usage_type=usage_type,
            monthly_limit=self.monthly_limit,
            price=UnitPriced(self.unit_price),
            unit_name=self.unit_name,
            currency=self.currency,
            effective_from=self.effective_from or soon(now),
            changed_by=changed_by,
            changed_at=now,
        )


class QuotaVersion(Strict):
    """A version of a plan's terms for a usage type: the units included each month, and the price of a unit of overage.

    `changedBy` is the caller who wrote it. Users get null, because they are customers.
    """

    plan_id: Identifier
    usage_type: Identifier
    monthly_limit: Limit
    unit_price: Amount | None
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
