"""Which ledgers this process lost a race for.

Where that was in the last seconds, the next events take the queue at once. Where it was longer ago, whoever has much to
lose looks first whether others are still at it.
"""

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


def is_suspect(key: LedgerKey) -> bool:
    """Whether a race for this ledger was lost, however long ago, and nothing was written to it in peace since."""
    return key in _lost_at


def calm(key: LedgerKey) -> None:
    """This ledger was written to just now: in peace, if it is not hot."""
    if not is_hot(key):
        _lost_at.pop(key, None)


def forget() -> None:
    """Take every ledger for calm."""
    _lost_at.clear()
