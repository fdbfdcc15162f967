"""The quantities whose price is shown before quotas are imported."""

from decimal import Decimal

import pytest

from scripts.price_table import telling_quantities
from tests.builders import make_quota
from usage_billing.plans.model import Quota
from usage_billing.pricing.graduated_price import Graduated
from usage_billing.pricing.package_price import Packaged
from usage_billing.pricing.tiers import Tier

TIERS = Graduated((Tier(Decimal(10), Decimal(3)), Tier(Decimal("20.5"), Decimal(2)), Tier(None, Decimal(1))))
HUGE = Packaged(Decimal(999_999_999_999), Decimal(1))


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        pytest.param(make_quota(), "50 51 150", id="a price per unit: the included units, one more, and many"),
        pytest.param(make_quota(price=TIERS), "50 51 60 61 70.5 71.5 255", id="each bound, and one unit more"),
        pytest.param(make_quota(monthly_limit=0, minimum_charge=5), "0 1 100", id="nothing included"),
        pytest.param(make_quota(minimum_charge=5), "0 50 51 150", id="a minimum: also a period without usage"),
        pytest.param(make_quota(monthly_limit="0.5"), "0.5 1.5 100.5", id="a fraction included"),
        pytest.param(make_quota(monthly_limit=0, price=HUGE), "0 1 999999999999", id="none that a request cannot have"),
    ],
)
def test_a_table_shows_the_quantities_at_which_the_price_changes(quota: Quota, expected: str) -> None:
    assert telling_quantities(quota) == [Decimal(text) for text in expected.split()]
