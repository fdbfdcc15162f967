"""Ledgers for which this process lost a race lately.

If that was in the last seconds, the ledger is hot: its next events go to the queue at once. If it was in the last
minute, it is contended: a writer of many entries first waits until other writers are done.
"""

from time import monotonic

from usage_billing.platform.caches import register_cache
from usage_billing.usage.ledger import LedgerKey

HOT_SECONDS = 5.0
CONTENDED_SECONDS = 60.0
MAX_REMEMBERED = 10_000

lost_at: dict[LedgerKey, float] = register_cache({})
"""The time of the last lost race for each ledger, by the monotonic clock."""


def note_lost_race(key: LedgerKey) -> None:
    """Remember that a race for this ledger was lost just now."""
    if len(lost_at) >= MAX_REMEMBERED:
        lost_at.clear()
    lost_at[key] = monotonic()


def is_hot(key: LedgerKey) -> bool:
    """Return whether a race for this ledger was lost in the last seconds."""
    return _lost_within(HOT_SECONDS, key)


def is_contended(key: LedgerKey) -> bool:
    """Return whether a race for this ledger was lost in the last minute."""
    return _lost_within(CONTENDED_SECONDS, key)


def _lost_within(seconds: float, key: LedgerKey) -> bool:
    moment = lost_at.get(key)
    return moment is not None and monotonic() - moment < seconds
