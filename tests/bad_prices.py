"""Prices that requests for a quota must not have, each with the fields that the answer names and the reasons."""

from typing import Any


def tiers(*bounds: Any, **more: Any) -> dict[str, Any]:
    """A body with a graduated price that has tiers with these bounds."""
    return price(model="graduated", tiers=[{"upTo": bound, "unitPrice": "1"} | more for bound in bounds])


def price(**fields: Any) -> dict[str, Any]:
    return {"unitPrice": None, "price": fields}


UPPER = "must be greater than upTo of the tier before it"
OPEN_INSIDE = "must be a number, because only the last tier has no upper bound"
NOT_OPEN = "must be null, because the last tier has no upper bound"
TOO_LONG = "must have at most 12 digits before the decimal point"
TOO_PRECISE = "must have at most 9 digits after the decimal point"
NEGATIVE = "must not be negative"
MODELS = "must be unit, graduated, volume or package"
TWO = "must be left out if there is a unitPrice, which is a price already"
UNKNOWN = "is not a field of this request"


BAD_PRICES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "no price at all": ({"unitPrice": None}, {"unitPrice": "is required if there is no price"}),
    "both null": (price() | {"price": None}, {"unitPrice": "is required if there is no price"}),
    "two prices": (tiers(None) | {"unitPrice": "1"}, {"price": TWO}),
    "two prices per unit": ({"price": {"model": "unit", "unitPrice": "9"}}, {"price": TWO}),
    "a price as text": ({"price": "10.00"}, {"price": "must be a JSON object"}),
    "a price as list": ({"price": []}, {"price": "must be a JSON object"}),
    "an unknown model": (price(model="stairs"), {"price.model": MODELS}),
    "a model that is no text": (price(model=["unit"]), {"price.model": MODELS}),
    "no model": (price(unitPrice="1"), {"price.model": MODELS}),
    "the name of the stored field": (price(kind="unit"), {"price.model": MODELS}),
    "a price per unit without it": (price(model="unit"), {"price.unitPrice": "is required"}),
    "snake case": (
        price(model="unit", unit_price="1"),
        {
            "price.unitPrice": "is required",
            "price.unit_price": f"{UNKNOWN}; did you mean unitPrice?",
        },
    ),
    "a negative unit price": (price(model="unit", unitPrice="-1"), {"price.unitPrice": NEGATIVE}),
    "fields of two models": (price(model="unit", unitPrice="1", tiers=[]), {"price.tiers": UNKNOWN}),
    "no tiers": (price(model="graduated"), {"price.tiers": "is required"}),
    "an empty list of tiers": (tiers(), {"price.tiers": "must not be empty"}),
    "tiers as object": (price(model="volume", tiers={}), {"price.tiers": "must be a list"}),
    "a tier as number": (price(model="volume", tiers=[5]), {"price.tiers.0": "must be a JSON object"}),
    "21 tiers": (tiers(*range(1, 21), None), {"price.tiers": "must have at most 20 items"}),
    "two tiers with the same bound": (tiers(10, 10, None), {"price.tiers.1.upTo": UPPER}),
    "tiers out of order": (tiers(10, 5, 20, None), {"price.tiers.1.upTo": UPPER}),
    "two tiers below the one before": (
        tiers(10, 5, 7, None),
        {"price.tiers.1.upTo": UPPER, "price.tiers.2.upTo": UPPER},
    ),
    "no open end": (tiers(10, 20), {"price.tiers.1.upTo": NOT_OPEN}),
    "an open end before the last": (tiers(10, None, None), {"price.tiers.1.upTo": OPEN_INSIDE}),
    "an open end first": (tiers(None, 10), {"price.tiers.0.upTo": OPEN_INSIDE, "price.tiers.1.upTo": NOT_OPEN}),
    "an empty tier": (tiers(0, None), {"price.tiers.0.upTo": "must be greater than 0"}),
    "a negative bound": (tiers(-1, None), {"price.tiers.0.upTo": "must be greater than 0"}),
    "a bound as text": (tiers("10", None), {"price.tiers.0.upTo": "must be a JSON number"}),
    "a bound with 13 digits": (tiers(1e12, None), {"price.tiers.0.upTo": TOO_LONG}),
    "a bound with 10 decimal places": (tiers(1e-10, None), {"price.tiers.0.upTo": TOO_PRECISE}),
    "a negative price": (tiers(None, unitPrice="-0.01"), {"price.tiers.0.unitPrice": NEGATIVE}),
    "a negative flat fee": (tiers(None, flatFee="-1"), {"price.tiers.0.flatFee": NEGATIVE}),
    "a fee null": (tiers(None, flatFee=None), {"price.tiers.0.flatFee": "must be a JSON number"}),
    "a price too large": (tiers(None, unitPrice="1" * 13), {"price.tiers.0.unitPrice": TOO_LONG}),
    "an unknown field of a tier": (tiers(None, upto=5), {"price.tiers.0.upto": UNKNOWN}),
    "a tier without its bound": (
        price(model="volume", tiers=[{"unitPrice": 1}]),
        {"price.tiers.0.upTo": "is required"},
    ),
    "no package size": (price(model="package", packagePrice=1), {"price.packageSize": "is required"}),
    "packages of nothing": (
        price(model="package", packageSize=0, packagePrice=1),
        {"price.packageSize": "must be greater than 0"},
    ),
    "negative packages": (
        price(model="package", packageSize=-5, packagePrice="-1"),
        {"price.packageSize": "must be greater than 0", "price.packagePrice": NEGATIVE},
    ),
    "a package price with 10 decimal places": (
        price(model="package", packageSize=1, packagePrice="0.0000000001"),
        {"price.packagePrice": TOO_PRECISE},
    ),
    "a negative minimum": ({"minimumCharge": "-1"}, {"minimumCharge": NEGATIVE}),
    "a negative maximum": ({"maximumCharge": "-1"}, {"maximumCharge": NEGATIVE}),
    "the minimum above the maximum": (
        {"minimumCharge": "10", "maximumCharge": "9.99"},
        {"minimumCharge": "must not be greater than maximumCharge"},
    ),
    "a minimum with 13 digits": ({"minimumCharge": "1" * 13}, {"minimumCharge": TOO_LONG}),
}
"""What a request has instead of a good price, and the message for each bad field."""
