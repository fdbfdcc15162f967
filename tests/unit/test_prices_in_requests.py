"""Prices and charges in requests and responses: what is refused and why, and what is shown."""

import json
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from tests.bad_prices import BAD_PRICES, tiers
from tests.builders import make_terms, quota_body
from usage_billing.kernel.errors import FieldCode, FieldError
from usage_billing.kernel.exact_json import loads
from usage_billing.kernel.fields import invalid_fields
from usage_billing.plans.api import PreviewedCharge, QuotaTerms
from usage_billing.pricing.api import ChargeLine
from usage_billing.pricing.price_lines import LineKind, PriceLine
from usage_billing.pricing.price_models import PRICE_MODELS
from usage_billing.web.field_errors import field_names, validation_failed


def refused(change: dict[str, Any]) -> tuple[FieldError, ...]:
    """The errors of a quota with a bad price, in the words of the API."""
    sent = loads(json.dumps(quota_body() | change))
    with pytest.raises(ValidationError) as error:
        QuotaTerms.model_validate(sent, by_alias=True, by_name=False)
    errors = [{**each, "loc": ("body", *each["loc"])} for each in error.value.errors()]
    return validation_failed(errors, field_names(QuotaTerms)).fields


@pytest.mark.parametrize(("change", "messages"), BAD_PRICES.values(), ids=BAD_PRICES)
def test_a_bad_price_is_refused_with_each_bad_field(change: dict[str, Any], messages: dict[str, str]) -> None:
    assert {each.field: each.message for each in refused(change)} == messages


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param({"unitPrice": None}, "missing", id="no price"),
        pytest.param({"price": {"model": "unit", "unitPrice": 1}}, "contradiction", id="two prices"),
        pytest.param({"price": {"model": "stairs"}}, "invalid", id="an unknown model"),
        pytest.param({"unitPrice": "-1"}, "invalid", id="a bad number"),
        pytest.param(tiers(10, 20), "invalid", id="tiers without an open end"),
    ],
)
def test_a_broken_rule_between_fields_has_a_code_of_its_own(change: dict[str, Any], code: FieldCode) -> None:
    assert [each.code for each in refused(change)] == [code]


def test_broken_rules_of_several_fields_are_reported_together() -> None:
    error = invalid_fields(FieldError("a.0.b", "invalid", "must be odd"), FieldError("c", "missing", "is required"))
    assert [(each["loc"], str(each["ctx"]["error"])) for each in error.errors()] == [
        (("a", "0", "b"), "must be odd"),
        (("c",), "is required"),
    ]


def test_the_schema_of_a_price_lists_every_price_model() -> None:
    schema = QuotaTerms.model_json_schema()
    [price, null] = schema["properties"]["price"]["anyOf"]
    assert null == {"type": "null"}
    assert price["discriminator"]["propertyName"] == "model"
    assert set(price["discriminator"]["mapping"]) == set(PRICE_MODELS.kinds)
    names = [model.fields.__name__ for model in PRICE_MODELS.kinds.values()]
    assert [each["$ref"] for each in price["oneOf"]] == [f"#/$defs/{name}" for name in names]
    assert set(names) <= set(schema["$defs"])


def test_the_line_of_a_charge_shows_exact_money_with_the_digits_of_its_currency() -> None:
    line = PriceLine(Decimal(3), Decimal("0.0033"), Decimal(1), package_size=Decimal(10))
    assert ChargeLine.of(line, "USD").model_dump(by_alias=True) == {
        "kind": "usage",
        "quantity": 3,
        "unitPrice": "0.0033",
        "flatFee": "1.00",
        "packageSize": 10,
        "amount": "1.0099",
    }
    maximum = PriceLine(Decimal(0), Decimal(0), Decimal("-12.5"), LineKind.MAXIMUM)
    assert ChargeLine.of(maximum, "USD").model_dump() == {
        "kind": "maximum",
        "quantity": 0,
        "unit_price": "0.00",
        "flat_fee": "-12.50",
        "package_size": None,
        "amount": "-12.50",
    }


def test_a_previewed_charge_divides_the_quantity_into_included_and_billable() -> None:
    charge = PreviewedCharge.of(make_terms(included=50, unit_price="0.0033", minimum_charge="0.01"), Decimal("51.5"))
    assert (charge.quantity, charge.included_quantity, charge.billable_quantity) == (
        Decimal("51.5"),
        Decimal(50),
        Decimal("1.5"),
    )
    assert charge.model_dump(include={"charge", "amount"}) == {"charge": "0.01", "amount": "0.01"}
    assert [line.amount for line in charge.lines] == [Decimal("0.00495"), Decimal("0.00505")]
