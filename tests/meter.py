"""Counts the DynamoDB calls of the code under test, and the capacity units that they consume."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from usage_billing.platform.dynamodb import client

READS = {"GetItem", "Query", "BatchGetItem", "Scan"}


def capacity(parsed: dict[str, Any]) -> float:
    """The capacity units that a call consumed, according to its response."""
    consumed = parsed.get("ConsumedCapacity", [])
    return sum((each["CapacityUnits"] for each in (consumed if isinstance(consumed, list) else [consumed])), 0.0)


@dataclass
class Meter:
    calls: Counter[str] = field(default_factory=Counter)
    read_units: float = 0
    write_units: float = 0

    def take(self, parsed: dict[str, Any], model: Any, **_: Any) -> None:
        self.calls[model.name] += 1
        units = capacity(parsed)
        if model.name in READS:
            self.read_units += units
        else:
            self.write_units += units


@contextmanager
def metered() -> Iterator[Meter]:
    """Count the DynamoDB calls made while this is active."""
    meter = Meter()
    events = client().meta.events
    events.register("after-call.dynamodb", meter.take)
    try:
        yield meter
    finally:
        events.unregister("after-call.dynamodb", meter.take)
