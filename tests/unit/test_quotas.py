"""Quotas: validation, how prices are shown, which version is in force, and the terms that ledgers take from it."""

from dataclasses import fields, replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.builders import NEW_YEAR, NOW, SERVICE, make_quota, make_terms
from usage_billing.kernel.money import with_minor_digits
from usage_billing.kernel.numbers import as_text
from usage_billing.plans import model
from usage_billing.plans.api import QuotaTerms, QuotaVersion
from usage_billing.plans.model import quota_at
from usage_billing.pricing.terms import Terms
from usage_billing.pricing.unit_price import UnitPriced

MADE_BY_THE_VERSION = ("effective_from", "changed_by", "changed_at")
"""What differs between two versions with the same terms."""


@pytest.mark.parametrize(
    ("price", "currency", "shown"),
    [
        pytest.param("10", "USD", "10.00", id="cents are added"),
        pytest.param("0.5", "USD", "0.50", id="a cent digit is added"),
        pytest.param("0.125", "USD", "0.125", id="a price below the cent stays exact"),
        pytest.param("0.000000001", "USD", "0.000000001", id="the smallest price"),
        pytest.param("100", "JPY", "100", id="no minor unit"),
        pytest.param("0.5", "JPY", "0.5", id="a fraction of a yen stays exact"),
        pytest.param("1", "BHD", "1.000", id="three digits"),
    ],
)
def test_a_price_is_shown_with_at_least_its_minor_unit_and_never_rounded(price: str, currency: str, shown: str) -> None:
    assert as_text(with_minor_digits(Decimal(price), currency)) == shown
    quota = QuotaVersion.of_version(make_quota(unit_price=price, currency=currency), SERVICE)
    assert quota.unit_price is not None
    assert as_text(quota.unit_price) == quota.model_dump()["unit_price"] == shown


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("unit_price", "-0.01", id="negative price"),
        pytest.param("unit_price", "ten", id="price that is not a number"),
        pytest.param("unit_price", "NaN", id="price NaN"),
        pytest.param("unit_price", "Infinity", id="infinite price"),
        pytest.param("unit_price", "0.0000000001", id="ten decimal places"),
        pytest.param("unit_price", "1000000000000", id="thirteen digits"),
        pytest.param("unit_price", "\uff11", id="digits of another alphabet"),
        pytest.param("unit_price", True, id="a boolean as price"),
        pytest.param("monthly_limit", -1, id="negative limit"),
        pytest.param("monthly_limit", "50", id="limit as text"),
        pytest.param("unit_name", "", id="no unit name"),
        pytest.param("unit_name", "a\nb", id="unit name with a line break"),
        pytest.param("currency", "usd", id="currency in lower case"),
        pytest.param("currency", "XXX", id="unknown currency"),
        pytest.param("plan_id", "a/b", id="plan with a slash"),
        pytest.param("color", "red", id="unknown field"),
    ],
)
def test_an_invalid_quota_is_refused_with_one_error(field: str, value: object) -> None:
    good = {"plan_id": "p", "usage_type": "t", "monthly_limit": 1, "unit_price": "1", "unit_name": "u"}
    assert QuotaTerms.model_validate(good, by_alias=False, by_name=True).plan_id == "p"
    with pytest.raises(ValidationError) as refused:
        QuotaTerms.model_validate(good | {field: value}, by_alias=False, by_name=True)
    assert len(refused.value.errors()) == 1


def test_the_terms_of_a_quota_are_its_plan_limit_price_unit_and_currency() -> None:
    quota = make_quota("t", plan_id="p", monthly_limit=5, unit_price="0.5", unit_name="u", currency="EUR")
    assert quota.terms() == Terms("p", Decimal(5), UnitPriced(Decimal("0.50")), "u", "EUR")


def test_terms_are_prorated_to_a_share_of_the_included_units() -> None:
    quota = make_quota(monthly_limit=5)
    assert quota.terms() == quota.terms(Fraction(1)) == make_terms(5)
    assert quota.terms(Fraction(1, 2)) == make_terms(2), "whole units are rounded down to whole ones"
    assert make_quota(monthly_limit="2.5").terms(Fraction(1, 2)) == make_terms("1.25")


def test_the_maximum_charge_is_prorated_by_the_same_share_and_the_minimum_is_not() -> None:
    quota = make_quota(monthly_limit=5, minimum_charge=5, maximum_charge=25)
    assert quota.terms() == make_terms(5, minimum_charge=5, maximum_charge=25)
    assert quota.terms(Fraction(1, 2)) == make_terms(2, minimum_charge=5, maximum_charge="12.5")


@pytest.mark.parametrize("field", [field.name for field in fields(model.Quota)])
def test_versions_have_the_same_terms_if_only_their_dates_and_authors_differ(field: str) -> None:
    """A term that a quota gains later makes a difference by itself."""
    others: dict[str, Any] = {
        "plan_id": "other", "usage_type": "other", "monthly_limit": Decimal(51), "price": UnitPriced(Decimal(11)),
        "unit_name": "other", "currency": "EUR", "effective_from": NOW, "changed_by": "other", "changed_at": NEW_YEAR,
    }  # fmt: skip
    quota = make_quota()
    other = replace(quota, **{field: others.get(field, Decimal(1))})
    assert other != quota
    assert quota.same_terms(other) == other.same_terms(quota) == (field in MADE_BY_THE_VERSION)


def test_terms_that_are_written_differently_are_the_same() -> None:
    quota = make_quota(monthly_limit=50, unit_price="10.00")
    assert quota.same_terms(make_quota(monthly_limit="50.0", unit_price="10"))


def version_at(seconds: int) -> model.Quota:
    return make_quota(effective_from=NEW_YEAR + timedelta(seconds=seconds))


@given(st.sets(st.integers(-5, 5)), st.floats(-6, 6).map(lambda seconds: NEW_YEAR + timedelta(seconds=seconds)))
def test_the_newest_version_is_in_force_or_else_the_first(instants: set[int], moment: datetime) -> None:
    newest_first = [version_at(seconds) for seconds in sorted(instants, reverse=True)]
    found = quota_at(newest_first, moment)
    if not instants:
        assert found is None
        return
    assert found
    in_force = [version for version in newest_first if version.effective_from <= moment]
    assert found.version == (in_force[0] if in_force else newest_first[-1])
    later = [version for version in newest_first if version.effective_from > found.version.effective_from]
    assert found.next == (later[-1] if later else None)


def test_versions_before_the_one_in_force_are_not_read() -> None:
    newest_first = iter([version_at(2), version_at(1), version_at(0)])
    assert quota_at(newest_first, NEW_YEAR + timedelta(seconds=1)) == model.QuotaAt(version_at(1), version_at(2))
    assert next(newest_first) == version_at(0)


def test_a_request_without_an_instant_holds_from_fifteen_seconds_later() -> None:
    terms = QuotaTerms.model_validate({"monthlyLimit": 50, "unitPrice": "10", "unitName": "assessment"})
    quota = terms.quota("business", "assessment", "admin-1", NOW)
    assert quota == make_quota(changed_by="admin-1", effective_from=NOW + timedelta(seconds=15))


def test_an_unknown_currency_is_refused_with_a_reason() -> None:
    with pytest.raises(ValidationError, match="must be an ISO 4217 currency code such as USD"):
        QuotaVersion(**dict(QuotaVersion.of_version(make_quota(), SERVICE)) | {"currency": "XXX"})
