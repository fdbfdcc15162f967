"""Terms: the price of a ledger's quantity, pinned into the ledger. Pure."""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from usage_billing.kernel.fields import DECIMAL_PLACES
from usage_billing.kernel.money import rounded
from usage_billing.kernel.numbers import EXACT, ZERO, canonical, subtract
from usage_billing.pricing.model import PriceModel
from usage_billing.pricing.price_lines import LineKind, PriceLine

WHOLE = Fraction(1)


@dataclass(frozen=True, slots=True)
class Terms:
    """A quota as pinned into a ledger: `included` units are free, and `price` is the price of all others.

    `maximum_charge` holds at all times. `minimum_charge` holds once the ledger is closed, for the share of a whole
    period that the ledger's period lasted. `included` and `maximum_charge` are prorated already where the ledger's
    period began with a change; `minimum_charge` is that of a whole period.
    """

    plan_id: str
    included: Decimal
    price: PriceModel
    unit_name: str
    currency: str
    minimum_charge: Decimal | None = None
    maximum_charge: Decimal | None = None

    def overage(self, used: Decimal) -> Decimal:
        """Return the part of `used` above the included units. Prepaid units cover some of it; the rest is charged."""
        return max(ZERO, subtract(used, self.included))

    def charge(self, charged: Decimal, closed_share: Fraction | None = None) -> Decimal:
        """Return the price of a `charged` quantity, exact and not rounded.

        `closed_share` is None until the ledger is closed, then the share of a whole period that its period lasted.
        """
        charge = self.price.charge(charged)
        if self.maximum_charge is not None:
            charge = min(charge, self.maximum_charge)
        if self.minimum_charge is not None and closed_share is not None:
            charge = max(charge, prorated_money(self.minimum_charge, closed_share))
        return charge

    def amount(self, charged: Decimal, closed_share: Fraction | None = None) -> Decimal:
        """Return the price of a `charged` quantity, rounded to the currency's minor unit."""
        return rounded(self.charge(charged, closed_share), self.currency)

    def lines(self, charged: Decimal, closed_share: Fraction | None = None) -> tuple[PriceLine, ...]:
        """Return the arithmetic of `charge`: the lines of the price model, then one for the minimum or the maximum.

        The exact amounts of the lines sum to the charge.
        """
        difference = subtract(self.charge(charged, closed_share), self.price.charge(charged))
        if not difference:
            return self.price.lines(charged)
        kind = LineKind.MINIMUM if difference > 0 else LineKind.MAXIMUM
        return (*self.price.lines(charged), PriceLine(ZERO, ZERO, difference, kind))


def prorated(number: Decimal, share: Fraction) -> Decimal:
    """Return `share` of a number that is not negative, rounded down: a whole number to a whole one, others to 9 digits.

    Money is prorated by `prorated_money`, because half of 5 USD is not 2 USD.
    """
    places = 0 if number == number.to_integral_value() else DECIMAL_PLACES
    return _rounded_down(number, share, places)


def prorated_money(money: Decimal, share: Fraction) -> Decimal:
    """Return `share` of an amount of money that is not negative, rounded down to 9 digits after the decimal point."""
    return _rounded_down(money, share, DECIMAL_PLACES)


def _rounded_down(number: Decimal, share: Fraction, places: int) -> Decimal:
    if share == WHOLE:
        return number
    units = Fraction(number) * share * 10**places
    return canonical(Decimal(units.numerator // units.denominator).scaleb(-places, EXACT))
