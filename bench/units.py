"""Counts calls to DynamoDB and the units they cost on AWS, those of refused transactions among them."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.meter import READS, capacity

REFUSED_UNITS = {"Put": 3, "Update": 2}
"""What an item of a refused transaction costs: as much as a written one, an entry's place in its index included.

The emulator reports nothing for a refused transaction. AWS charges for the attempt, and says nothing of the index: the
third unit of an entry is to be on the safe side. All items of the benchmark are smaller than 1 KB.
"""


@dataclass
class Units:
    calls: Counter[str] = field(default_factory=Counter)
    read: float = 0
    written: float = 0
    refused: float = 0
    refusals: int = 0

    @property
    def charged(self) -> float:
        """Write units, those of refused tries too."""
        return self.written + self.refused

    def __add__(self, other: "Units") -> "Units":
        return Units(
            self.calls + other.calls,
            self.read + other.read,
            self.written + other.written,
            self.refused + other.refused,
            self.refusals + other.refusals,
        )

    def _asked(self, params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        context["items"] = [next(iter(item)) for item in params.get("TransactItems", ())]
        context["keys"] = sum(len(asked["Keys"]) for asked in params.get("RequestItems", {}).values())

    def _answered(self, parsed: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
        self.calls[model.name] += 1
        if parsed.get("Error", {}).get("Code") == "TransactionCanceledException":
            self.refused += sum(REFUSED_UNITS[kind] for kind in context["items"])
            self.refusals += 1
            return
        if model.name == "BatchGetItem" and "ConsumedCapacity" not in parsed:
            self.read += context["keys"]  # the emulator does not say: a unit each, as read consistently and below 4 KB
            return
        if model.name in READS:
            self.read += capacity(parsed)
        else:
            self.written += capacity(parsed)


@contextmanager
def counted() -> Iterator[Units]:
    """Count what this process asks of DynamoDB through the product's client while this is active."""
    from usage_billing.platform.tables import client  # noqa: PLC0415 - after the surroundings are entered

    units, events = Units(), client().meta.events
    events.register("provide-client-params.dynamodb", units._asked)
    events.register("after-call.dynamodb", units._answered)
    try:
        yield units
    finally:
        events.unregister("provide-client-params.dynamodb", units._asked)
        events.unregister("after-call.dynamodb", units._answered)
