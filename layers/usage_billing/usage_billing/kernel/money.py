"""Currencies, and the only function that rounds money. Pure."""

from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Annotated

from pydantic import AfterValidator, Field

# The active currencies of ISO 4217, by the number of digits of their minor unit.
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
    """Return `amount` rounded half up to the currency's minor unit. Nothing else rounds money."""
    return amount.quantize(Decimal(1).scaleb(-MINOR_UNIT_DIGITS[currency]), context=_ROUNDING)


def shown_price(price: Decimal | None, currency: str) -> Decimal | None:
    """Return a price as responses show it (see `with_minor_digits`), or None if there is none."""
    return None if price is None else with_minor_digits(price, currency)


def with_minor_digits(price: Decimal, currency: str) -> Decimal:
    """Return the same price with at least the digits of the currency's minor unit.

    In USD, 10 becomes 10.00, and 0.125 stays as it is.
    """
    digits = MINOR_UNIT_DIGITS[currency]
    return price if price.as_tuple().exponent <= -digits else rounded(price, currency)  # type: ignore[operator]
