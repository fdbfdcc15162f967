"""Quotas: what a plan includes of a usage type, and the price of overage. They change by new versions. Pure."""

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from usage_billing.pricing.model import PriceModel
from usage_billing.pricing.terms import WHOLE, Terms, prorated, prorated_money


@dataclass(frozen=True, slots=True)
class Quota:
    """A version of a plan's terms for a usage type: the units included each period, and the price of overage.

    It is in force from `effective_from`, a whole second, until the next version takes effect. `changed_by` is the `sub`
    of the caller who wrote it.

    The charge of a ledger is at most `maximum_charge`, and at least `minimum_charge` once the ledger is closed.
    """

    plan_id: str
    usage_type: str
    monthly_limit: Decimal
    price: PriceModel
    unit_name: str
    currency: str = "USD"
    _: KW_ONLY
    minimum_charge: Decimal | None = None
    maximum_charge: Decimal | None = None
    effective_from: datetime
    changed_by: str
    changed_at: datetime

    def terms(self, share: Fraction = WHOLE) -> Terms:
        """Return the terms of a ledger that gets `share` of the units that a whole period includes.

        The maximum charge is prorated by the same share. The minimum is not: it is prorated when the ledger is closed,
        by the length of its period.
        """
        maximum = self.maximum_charge
        return Terms(
            plan_id=self.plan_id,
            included=prorated(self.monthly_limit, share),
            price=self.price,
            unit_name=self.unit_name,
            currency=self.currency,
            minimum_charge=self.minimum_charge,
            maximum_charge=None if maximum is None else prorated_money(maximum, share),
        )

    def same_terms(self, other: "Quota") -> bool:
        """Return True if the two versions differ in nothing but when they take effect, and who wrote them when."""
        return self == replace(
            other, effective_from=self.effective_from, changed_by=self.changed_by, changed_at=self.changed_at
        )


@dataclass(frozen=True, slots=True)
class QuotaAt:
    """The version of a quota that is in force at an instant, and the version that takes effect after it, if any."""

    version: Quota
    next: Quota | None


def quota_at(newest_first: Iterable[Quota], moment: datetime) -> QuotaAt | None:
    """Return what is in force at `moment`, given all versions of a quota; None if there are none.

    Before the first version takes effect, it is in force already: a plan that was sold without a quota gets one.
    Only the versions down to the one in force are consumed.
    """
    following: Quota | None = None
    after_following: Quota | None = None
    for version in newest_first:
        if version.effective_from <= moment:
            return QuotaAt(version, following)
        following, after_following = version, following
    return QuotaAt(following, after_following) if following else None


@dataclass(frozen=True, slots=True)
class DeletedVersion:
    """A version that was deleted before it took effect."""

    version: Quota
    deleted_by: str
    deleted_at: datetime


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan that has had a quota. Its first quota fixed the currency; `changed_by` and `changed_at` are of that."""

    plan_id: str
    currency: str
    changed_by: str
    changed_at: datetime
