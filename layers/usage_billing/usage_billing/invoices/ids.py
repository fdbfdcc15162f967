"""The ids of invoices and of their items. Pure."""

from usage_billing.kernel.instants import instant
from usage_billing.kernel.periods import Period
from usage_billing.usage.ledger import LedgerKey

_SEQUENCE_DIGITS = 15


def item_id(key: LedgerKey, to_sequence: int) -> str:
    """Return an item's id in its invoice. It is zero-padded, so that the ids of a ledger sort by their ranges."""
    return f"{key.sort_key}#{to_sequence:0{_SEQUENCE_DIGITS}d}"


def last_item_id(key: LedgerKey) -> str:
    """Return an id that sorts behind every item id of the ledger."""
    return item_id(key, 10**_SEQUENCE_DIGITS - 1)


def invoice_id(subscription_id: str, period_start: str) -> str:
    """Return the id of the one invoice of a subscription and period."""
    return f"{subscription_id}-{period_start.replace('-', '').replace(':', '')}"


def invoice_id_of(key: LedgerKey) -> str:
    """Return the id of the invoice that a ledger's items go to."""
    return invoice_id(key.subscription_id, key.period_start)


def parse_invoice_id(text: str) -> tuple[str, str] | None:
    """Return the subscription id and the period start in an invoice id; None if `text` is not an invoice id."""
    subscription_id, _, compact = text.rpartition("-")
    try:
        moment = instant(f"{compact[:4]}-{compact[4:6]}-{compact[6:11]}:{compact[11:13]}:{compact[13:]}")
        if moment.tzinfo is None:
            return None
        period_start = Period(moment, moment).key
    except (ValueError, OverflowError):  # no instant, or one whose UTC lies before year 1 or after 9999
        return None
    return (subscription_id, period_start) if invoice_id(subscription_id, period_start) == text else None
