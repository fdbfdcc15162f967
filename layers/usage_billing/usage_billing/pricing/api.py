"""Prices and charges in requests and responses. Pure."""

from typing import Annotated

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, PlainSerializer, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from usage_billing.kernel.errors import FieldError
from usage_billing.kernel.fields import Amount, Strict, Total, invalid_fields
from usage_billing.kernel.money import with_minor_digits
from usage_billing.pricing.model import PriceFields
from usage_billing.pricing.price_lines import LineKind, PriceLine
from usage_billing.pricing.price_models import PRICE_MODELS


class _OfAnyModel:
    """Validates and documents a price by its `model`, with the price models that are registered then."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(_parsed)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        choices = {kind: TypeAdapter(model.fields).core_schema for kind, model in PRICE_MODELS.kinds.items()}
        return handler(core_schema.tagged_union_schema(choices, discriminator="model"))


def _parsed(value: object) -> PriceFields:
    if isinstance(value, PriceFields):
        return value
    if not isinstance(value, dict):
        raise ValueError("must be a JSON object")
    name = value.get("model")
    model = PRICE_MODELS.kinds.get(name) if isinstance(name, str) else None
    if model is None:
        *others, last = PRICE_MODELS.kinds
        raise invalid_fields(FieldError("model", "invalid", f"must be {', '.join(others)} or {last}"))
    return model.fields.model_validate(value, by_alias=True, by_name=False)


Price = Annotated[PriceFields, _OfAnyModel(), PlainSerializer(lambda price: price.model_dump(by_alias=True))]
"""A price. Its `model` says which price model it is of, and that says which other fields it has."""


class ChargeLine(Strict):
    """A part of a charge: `quantity` x `unitPrice` + `flatFee` = `amount`, exact.

    With a `packageSize`, quantity and unit price are those of packages. `kind` is `minimum` or `maximum` for the
    difference to the minimum or the maximum charge, and `usage` for all other lines.
    """

    kind: LineKind
    quantity: Total
    unit_price: Amount
    flat_fee: Amount
    package_size: Total | None
    amount: Amount

    @classmethod
    def of(cls, line: PriceLine, currency: str) -> "ChargeLine":
        return cls(
            kind=line.kind,
            quantity=line.quantity,
            unit_price=with_minor_digits(line.unit_price, currency),
            flat_fee=with_minor_digits(line.flat_fee, currency),
            package_size=line.package_size,
            amount=with_minor_digits(line.amount, currency),
        )
