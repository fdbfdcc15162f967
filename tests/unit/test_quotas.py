"""Quotas: validation, how prices are shown, and the terms that ledgers take from them."""

from decimal import Decimal

import pytest
from pydantic import ValidationError

from tests.builders import make_quota
from usage_billing.kernel.money import with_minor_digits
from usage_billing.kernel.numbers import as_text
from usage_billing.plans.api import Quota, QuotaTerms
from usage_billing.pricing.terms import Terms
from usage_billing.pricing.unit_price import UnitPriced


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
    quota = Quota.of(make_quota(unit_price=price, currency=currency))
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
    assert quota.terms == Terms("p", Decimal(5), UnitPriced(Decimal("0.50")), "u", "EUR")


def test_an_unknown_currency_is_refused_with_a_reason() -> None:
    with pytest.raises(ValidationError, match="must be an ISO 4217 currency code such as USD"):
        Quota(plan_id="p", usage_type="t", monthly_limit=1, unit_price=Decimal(1), unit_name="u", currency="XXX")
