"""Counter of calls to DynamoDB and of the units that they consume on AWS, including refused transactions."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.meter import READS, capacity

REFUSED_UNITS = {"Put": 3, "Update": 2}
"""Write units of an item in a refused transaction. They equal those of a written item, with the index of an entry.

The emulator reports no units for refused transactions. AWS charges for them, but does not document whether the index
counts. The third unit of an entry is there to be on the safe side. All items of the benchmark are smaller than 1 KB.
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
        """Write units, including those of refused transactions."""
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
            self.read += context["keys"]  # not reported by the emulator: one unit each for a consistent read below 4 KB
            return
        if model.name in READS:
            self.read += capacity(parsed)
        else:
            self.written += capacity(parsed)


@contextmanager
def counted() -> Iterator[Units]:
    """Count the requests that this process makes to DynamoDB through the product's client inside the block."""
    from usage_billing.platform.dynamodb import client  # noqa: PLC0415 - after fixtures.use_account

    units, events = Units(), client().meta.events
    events.register("provide-client-params.dynamodb", units._asked)
    events.register("after-call.dynamodb", units._answered)
    try:
        yield units
    finally:
        events.unregister("provide-client-params.dynamodb", units._asked)
        events.unregister("after-call.dynamodb", units._answered)
