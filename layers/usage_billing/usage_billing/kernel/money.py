"""Currencies, and the one place that rounds money. Pure."""

from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Annotated

from pydantic import AfterValidator, Field

# ISO 4217, active currencies by the digits of their minor unit; the rest of the list has two.
_CURRENCIES_BY_DIGITS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC "
    "CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD "
    "KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO "
    "NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL "
    "THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
MINOR_UNIT_DIGITS = {code: digits for digits, codes in _CURRENCIES_BY_DIGITS.items() for code in codes.split()}

CURRENCY_PATTERN = "^[A-Z]{3}$"
CURRENCY_RULE = "must be an ISO 4217 currency code such as USD"

_ROUNDING = Context(prec=100, rounding=ROUND_HALF_UP)


def _known_currency(code: str) -> str:
    if code not in MINOR_UNIT_DIGITS:
        raise ValueError(CURRENCY_RULE)
    return code


Currency = Annotated[
    str,
    Field(pattern=CURRENCY_PATTERN, examples=["USD"], json_schema_extra={"enum": [*sorted(MINOR_UNIT_DIGITS)]}),
    AfterValidator(_known_currency),
]


def rounded(amount: Decimal, currency: str) -> Decimal:
    """`amount` to the currency's minor unit, half up. The only rounding of money there is."""
    return amount.quantize(Decimal(1).scaleb(-MINOR_UNIT_DIGITS[currency]), context=_ROUNDING)


def shown_price(price: Decimal | None, currency: str) -> Decimal | None:
    """Return a price as it is shown, if there is one: see `in_minor_units`."""
    return None if price is None else in_minor_units(price, currency)


def in_minor_units(price: Decimal, currency: str) -> Decimal:
    """The same price with at least the digits of the currency's minor unit: 10 -> 10.00, 0.125 stays."""
    digits = MINOR_UNIT_DIGITS[currency]
    return price if price.as_tuple().exponent <= -digits else rounded(price, currency)  # type: ignore[operator]
