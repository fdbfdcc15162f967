"""The quantities whose price is shown before quotas are imported."""

from decimal import Decimal
from typing import Any

import pytest

from scripts.price_table import telling_quantities
from tests.builders import quota_body
from usage_billing.plans.api import QuotaTerms

BOUNDS = [Decimal(10), Decimal("20.5"), None]
TIERS = {"model": "graduated", "tiers": [{"upTo": bound, "unitPrice": 1} for bound in BOUNDS]}
HUGE = {"model": "package", "packageSize": 999_999_999_999, "packagePrice": 1}


def quota(**fields: Any) -> dict[str, Any]:
    """The JSON of a quota. A `price` replaces the unit price."""
    return quota_body() | ({"unitPrice": None} if "price" in fields else {}) | fields


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(quota(), "50 51 150", id="a price per unit: the included units, one more, and many"),
        pytest.param(quota(price=TIERS), "50 51 60 61 70.5 71.5 255", id="each bound, and one unit more"),
        pytest.param(quota(monthlyLimit=0, minimumCharge=5), "0 1 100", id="nothing included"),
        pytest.param(quota(minimumCharge=5), "0 50 51 150", id="a minimum: also a period without usage"),
        pytest.param(quota(monthlyLimit=Decimal("0.5")), "0.5 1.5 100.5", id="a fraction included"),
        pytest.param(quota(monthlyLimit=0, price=HUGE), "0 1 999999999999", id="none that a request cannot have"),
    ],
)
def test_a_table_shows_the_quantities_at_which_the_price_changes(body: dict[str, Any], expected: str) -> None:
    assert telling_quantities(QuotaTerms.model_validate(body)) == [Decimal(text) for text in expected.split()]
