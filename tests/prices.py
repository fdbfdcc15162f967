"""Hypothesis strategies of prices: random ones of every price model."""

from decimal import Decimal
from math import ceil

from hypothesis import strategies as st

from usage_billing.pricing.graduated_price import Graduated
from usage_billing.pricing.model import PriceModel
from usage_billing.pricing.package_price import Packaged
from usage_billing.pricing.tiers import MAX_TIERS, Tier
from usage_billing.pricing.unit_price import UnitPriced
from usage_billing.pricing.volume_price import Volume

LARGEST = Decimal("999999999999.999999999")


def numbers(largest: Decimal | int = LARGEST, *, smallest: Decimal | int = 0) -> st.SearchStrategy[Decimal]:
    """Numbers with up to 9 digits after the decimal point, often small or whole."""
    whole = st.integers(ceil(smallest), int(min(largest, 1000))).map(Decimal)
    return whole | st.decimals(smallest, largest, places=9)


POSITIVE = Decimal("0.000000001")

LONG = Graduated(
    (*(Tier(Decimal(10 * n), Decimal(40 - n) / 8, Decimal(n)) for n in range(1, 20)), Tier(None, Decimal(1)))
)
"""A price with 20 tiers, which is too long for ledgers to copy."""


def tiers(largest: Decimal | int = LARGEST) -> st.SearchStrategy[tuple[Tier, ...]]:
    """Tiers with bounds, prices and fees up to `largest`."""
    money = numbers(largest)
    bounds = st.lists(numbers(largest, smallest=POSITIVE), unique=True, max_size=MAX_TIERS - 1).map(sorted)
    return bounds.flatmap(
        lambda inner: st.tuples(*(st.builds(Tier, st.just(bound), money, money | st.just(Decimal(0)))
                                  for bound in [*inner, None]))
    )  # fmt: skip


def models(largest: Decimal | int = LARGEST) -> dict[str, st.SearchStrategy[PriceModel]]:
    """A strategy for each price model, by its name. No number is larger than `largest`."""
    return {
        "unit": st.builds(UnitPriced, numbers(largest)),
        "graduated": st.builds(Graduated, tiers(largest)),
        "volume": st.builds(Volume, tiers(largest)),
        "package": st.builds(Packaged, numbers(largest, smallest=POSITIVE), numbers(largest)),
    }


EXAMPLES: tuple[PriceModel, ...] = (
    UnitPriced(Decimal("0.5")),
    UnitPriced(Decimal(3)),
    Graduated(
        (Tier(Decimal(10), Decimal(0)), Tier(Decimal("100.5"), Decimal("0.005"), Decimal(2)), Tier(None, Decimal(1)))
    ),
    Volume(
        (Tier(Decimal(20), Decimal(2), Decimal("1.005")), Tier(Decimal(50), Decimal("0.1")), Tier(None, Decimal(0)))
    ),
    Packaged(Decimal("2.5"), Decimal("0.125")),
    LONG,
)
"""Prices of every model: with free tiers, fees, fractions of a cent, and one that falls to nothing."""

MODELS = models()
PRICES = st.one_of(*MODELS.values())
"""Prices of every model, with numbers up to the largest that requests may have."""

SMALL_PRICES = st.one_of(*models(50).values())
"""Prices of every model whose numbers are so small that random quantities reach most tiers."""

RISING_PRICES = st.one_of(*(strategy for name, strategy in models(50).items() if name != "volume"))
"""The same, of every model whose charge never falls while the quantity grows."""
