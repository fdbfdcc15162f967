"""The maximum number of usage types that a subscription may have in a period."""

from usage_billing.kernel.errors import TooManyUsageTypes
from usage_billing.platform.caches import register_cache
from usage_billing.usage import store
from usage_billing.usage.ledger import LedgerKey

MAX_USAGE_TYPES = 200
"""Maximum usage types of a subscription in a period. Each is a ledger that billing reads. No plan has so many, but a
caller that puts an id into the usage type by mistake would open ledgers without end. Events that open ledgers at the
same time may exceed the limit by their number."""

full: set[tuple[str, str]] = register_cache(set())
"""Subscriptions and periods that have reached the limit. A ledger is never removed, so they stay here."""

MAX_REMEMBERED = 10_000


def require_room(key: LedgerKey) -> None:
    """Raise TooManyUsageTypes if no further ledger may be opened."""
    place = key.subscription_id, key.period_start
    if place not in full and store.has_heads(*place, MAX_USAGE_TYPES):
        if len(full) >= MAX_REMEMBERED:
            full.clear()
        full.add(place)
    if place in full:
        raise TooManyUsageTypes(
            f"The subscription {key.subscription_id} already has {MAX_USAGE_TYPES} usage types in this period, "
            f"which is the maximum; {key.usage_type} cannot be added."
        )
