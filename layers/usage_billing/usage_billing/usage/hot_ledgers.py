"""Which ledgers this process lost a race for.

Where that was in the last seconds, the next events take the queue at once. Where it was in the last minute, whoever has
much to lose looks first whether others are still at it.
"""

from time import monotonic

from usage_billing.platform.caches import register_cache
from usage_billing.usage.ledger import LedgerKey

HOT_SECONDS = 5.0
SUSPECT_SECONDS = 60.0
MAX_REMEMBERED = 10_000

lost_at: dict[LedgerKey, float] = register_cache({})


def race_lost(key: LedgerKey) -> None:
    """A race for this ledger was lost just now."""
    if len(lost_at) >= MAX_REMEMBERED:
        lost_at.clear()
    lost_at[key] = monotonic()


def is_hot(key: LedgerKey) -> bool:
    """Whether a race for this ledger was lost in the last seconds."""
    return _lost_within(HOT_SECONDS, key)


def is_suspect(key: LedgerKey) -> bool:
    """Whether a race for this ledger was lost in the last minute."""
    return _lost_within(SUSPECT_SECONDS, key)


def _lost_within(seconds: float, key: LedgerKey) -> bool:
    moment = lost_at.get(key)
    return moment is not None and monotonic() - moment < seconds
