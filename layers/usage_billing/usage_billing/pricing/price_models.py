"""The registry of price models. Each is one file, and one line here. Pure.

Nothing outside this package names a price model.
"""

from decimal import Decimal

from usage_billing.kernel.kind_registry import Registry
from usage_billing.pricing.graduated_price import Graduated
from usage_billing.pricing.model import PriceModel
from usage_billing.pricing.package_price import Packaged
from usage_billing.pricing.unit_price import UnitPriced
from usage_billing.pricing.volume_price import Volume

PRICE_MODELS: Registry[PriceModel] = Registry(
    UnitPriced,
    Graduated,
    Volume,
    Packaged,
)


def per_unit(unit_price: Decimal) -> PriceModel:
    """Return the price that is the same for each unit, for which requests have a short form."""
    return UnitPriced(unit_price)
