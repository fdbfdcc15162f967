"""What a price model is: the price of a charged quantity. Pure."""

from abc import abstractmethod
from decimal import Decimal
from typing import ClassVar, Protocol

from pydantic import ConfigDict

from usage_billing.kernel.fields import Strict
from usage_billing.kernel.kind_registry import Registered
from usage_billing.pricing.price_lines import PriceLine


class PriceModel(Registered, Protocol):
    """The price of a charged quantity, in the currency of the terms. A quantity of 0 costs nothing."""

    fields: ClassVar[type["PriceFields"]]
    """The type of such a price in requests and responses. Its `model` is the `kind` of the price model."""

    @property
    def unit_price(self) -> Decimal | None:
        """The price of each unit; None where it depends on the quantity."""

    @property
    def bounds(self) -> tuple[Decimal, ...]:
        """The quantities after which the next unit is priced in another way, in order. A price table shows them."""

    def charge(self, quantity: Decimal) -> Decimal:
        """Return the price of `quantity`, exact and not rounded."""

    def lines(self, quantity: Decimal) -> tuple[PriceLine, ...]:
        """Return the parts that `quantity` is charged in; their amounts sum to its charge."""

    def shown(self, currency: str) -> "PriceFields":
        """Return the price as responses show it, with at least the digits of the currency's minor unit.

        It is built by `model_construct`, because validation would remove the zeros again.
        """


class PriceFields(Strict):
    """The base of prices in requests and responses. `model` names the price model.

    Pydantic builds the validators at first use, because most functions that load a price model never need them.
    """

    model_config = ConfigDict(defer_build=True, json_schema_mode_override="validation")

    model: str

    @abstractmethod
    def price(self) -> PriceModel:
        """Return the price itself."""
