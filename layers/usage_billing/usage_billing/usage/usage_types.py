"""How many usage types a subscription may have in a period."""

from usage_billing.kernel.errors import (
    TooManyUsageTypes,
)
from usage_billing.platform.caches import register_cache
from usage_billing.usage import store
from usage_billing.usage.ledger import LedgerKey

MAX_USAGE_TYPES = 200
"""Of a subscription and period. Each is a ledger that billing looks at; nobody sells so many, but a fault of a caller
that puts an id into the usage type makes them without end. Whoever opens ledgers at the same time may exceed it by as
many."""


full: set[tuple[str, str]] = register_cache(set())
"""Subscriptions and periods that have all the ledgers they may; no ledger is ever closed again."""

MAX_REMEMBERED = 10_000


def require_room(key: LedgerKey) -> None:
    """Raises TooManyUsageTypes where no further ledger may be opened."""
    place = key.subscription_id, key.period_start
    if place not in full and store.has_heads(*place, MAX_USAGE_TYPES):
        if len(full) >= MAX_REMEMBERED:
            full.clear()
        full.add(place)
    if place in full:
        raise TooManyUsageTypes(
            f"The subscription {key.subscription_id} has {MAX_USAGE_TYPES} usage types in this period; "
            f"{key.usage_type} would be one more."
        )
