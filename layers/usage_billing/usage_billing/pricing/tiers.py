"""Tiers: ranges of quantities with a price each. The price models `graduated` and `volume` have them. Pure."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Self

from pydantic import ConfigDict, Field, model_validator

from usage_billing.kernel.errors import FieldError
from usage_billing.kernel.fields import Quantity, Strict, UnitPrice, invalid_fields
from usage_billing.kernel.money import with_minor_digits
from usage_billing.kernel.numbers import ZERO
from usage_billing.pricing.model import PriceFields
from usage_billing.pricing.price_lines import PriceLine, sum_of

MAX_TIERS = 20


@dataclass(frozen=True, slots=True)
class Tier:
    """The quantities above the tier before it, up to and including `up_to`; the last tier has no `up_to`.

    `unit_price` is the price of each unit. `flat_fee` is charged once if the tier is used.
    """

    up_to: Decimal | None
    unit_price: Decimal
    flat_fee: Decimal = ZERO

    def line(self, quantity: Decimal) -> PriceLine:
        return PriceLine(quantity, self.unit_price, self.flat_fee)

    def parameters(self) -> list[Decimal | None]:
        """Return the tier as it is stored. Every ledger has a copy of its price, so it is short."""
        return [self.up_to, self.unit_price, *([self.flat_fee] if self.flat_fee else [])]

    @classmethod
    def of(cls, up_to: Any, unit_price: Any, flat_fee: Any = 0) -> Self:
        """Return the tier that `parameters` described."""
        return cls(None if up_to is None else Decimal(up_to), Decimal(unit_price), Decimal(flat_fee))


class PriceTier(Strict):
    """A tier of a price: quantities up to and including `upTo`, which is null in the last tier.

    `flatFee` is charged once if the tier is used.
    """

    model_config = ConfigDict(defer_build=True, json_schema_mode_override="validation")

    up_to: Quantity | None
    unit_price: UnitPrice
    flat_fee: UnitPrice = ZERO

    def tier(self) -> Tier:
        return Tier(self.up_to, self.unit_price, self.flat_fee)

    @classmethod
    def of(cls, tier: Tier, currency: str) -> "PriceTier":
        return cls.model_construct(
            up_to=tier.up_to,
            unit_price=with_minor_digits(tier.unit_price, currency),
            flat_fee=with_minor_digits(tier.flat_fee, currency),
        )


class TieredPrice(PriceFields):
    """A price with tiers in a request or a response."""

    tiers: Annotated[list[PriceTier], Field(min_length=1, max_length=MAX_TIERS)]

    @classmethod
    def of(cls, price: "Tiered", currency: str) -> "TieredPrice":
        return cls.model_construct(model=price.kind, tiers=[PriceTier.of(tier, currency) for tier in price.tiers])

    @model_validator(mode="after")
    def _require_each_quantity_in_one_tier(self) -> Self:
        if errors := list(_bound_errors([tier.up_to for tier in self.tiers])):
            raise invalid_fields(*errors)
        return self


def _bound_errors(bounds: Sequence[Decimal | None]) -> Iterator[FieldError]:
    *inner, last = bounds
    highest = ZERO
    for index, bound in enumerate(inner):
        if bound is None:
            yield _error(index, "must be a number, because only the last tier has no upper bound")
        elif bound <= highest:
            yield _error(index, "must be greater than upTo of the tier before it")
        else:
            highest = bound
    if last is not None:
        yield _error(len(inner), "must be null, because the last tier has no upper bound")


def _error(index: int, message: str) -> FieldError:
    return FieldError(f"tiers.{index}.upTo", "invalid", message)


@dataclass(frozen=True, slots=True)
class Tiered:
    """The base of price models with tiers: at least one, with growing `up_to`, and only the last one without."""

    tiers: tuple[Tier, ...]

    kind: ClassVar[str]
    unit_price: ClassVar[None] = None

    @property
    def bounds(self) -> tuple[Decimal, ...]:
        return tuple(tier.up_to for tier in self.tiers if tier.up_to is not None)

    @abstractmethod
    def lines(self, quantity: Decimal) -> tuple[PriceLine, ...]:
        """Return the line of each tier that charges a part of `quantity`."""

    def charge(self, quantity: Decimal) -> Decimal:
        return sum_of(self.lines(quantity))

    def parameters(self) -> dict[str, Any]:
        return {"tiers": [tier.parameters() for tier in self.tiers]}

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Self:
        return cls(tuple(Tier.of(*each) for each in parameters["tiers"]))
