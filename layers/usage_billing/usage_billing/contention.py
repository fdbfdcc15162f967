"""Which ledgers this process lost a race for in the last seconds: their next events take the queue at once."""

from time import monotonic

from usage_billing.ledger import LedgerKey

HOT_SECONDS = 5.0
MOST_REMEMBERED = 10_000

_lost_at: dict[LedgerKey, float] = {}


def notice(key: LedgerKey) -> None:
    """A race for this ledger was lost just now."""
    if len(_lost_at) >= MOST_REMEMBERED:
        _lost_at.clear()
    _lost_at[key] = monotonic()


def is_hot(key: LedgerKey) -> bool:
    """Whether a race for this ledger was lost in the last seconds."""
    lost_at = _lost_at.get(key)
    return lost_at is not None and monotonic() - lost_at < HOT_SECONDS


def forget() -> None:
    """Take every ledger for calm."""
    _lost_at.clear()
