"""Recorded events of a subscription, each with the invoice item that charged it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from usage_billing.invoices import store as invoice_store
from usage_billing.invoices.model import InvoiceItem
from usage_billing.kernel import cursors
from usage_billing.kernel.periods import Period
from usage_billing.usage import store as ledger_store
from usage_billing.usage.ledger import Entry, Head


@dataclass(frozen=True, slots=True)
class Record:
    """An entry, the head of its ledger, and the invoice item that charged its range, if one did."""

    entry: Entry
    head: Head
    item: InvoiceItem | None


def records(
    subscription_id: str, period: Period, usage_type: str | None, limit: int, cursor: str | None
) -> tuple[list[Record], str | None]:
    """Return a page of the period's entries, by usage type and sequence, and the cursor of the next page.

    The heads say how many entries there are. Where the index of entries lags behind them, the page ends early with a
    cursor, so that nothing is skipped.

    Raises:
        ValidationFailed: the cursor is not one of this list's.
    """
    after_type, after = _position(cursor, period)
    found: list[Record] = []
    for head in ledger_store.heads(subscription_id, period.key):
        if usage_type not in (None, head.key.usage_type) or head.key.usage_type < after_type:
            continue
        last = after if head.key.usage_type == after_type else 0
        wanted = min(head.last_sequence - last, limit - len(found))
        if wanted > 0:
            entries = ledger_store.entries(head.key, last, wanted)
            found += _with_items(head, entries)
            last += len(entries)
        if last < head.last_sequence:
            return found, cursors.encode(period.key, head.key.usage_type, last)
    return found, None


def record(subscription_id: str, event_id: str) -> Record | None:
    """Return the entry that an event id names, with its invoice item, read consistently; None where there is none."""
    entry = ledger_store.entry(subscription_id, event_id)
    if entry is None:
        return None
    head = ledger_store.head(entry.key)
    assert head is not None, "an entry is written together with its head"
    [found] = _with_items(head, [entry])
    return found


def _position(cursor: str | None, period: Period) -> tuple[str, int]:
    if cursor is None:
        return "", 0
    of_period, usage_type, sequence = cursors.decode(cursor, str, str, int)
    if of_period != period.key:
        raise cursors.invalid_cursor()
    return str(usage_type), int(sequence)


def _with_items(head: Head, entries: Sequence[Entry]) -> Iterator[Record]:
    items = invoice_store.items_from(head.key, entries[0].sequence) if entries else iter(())
    item: InvoiceItem | None = None
    for entry in entries:
        while entry.sequence <= head.billed_through and (item is None or item.to_sequence < entry.sequence):
            following = next(items, None)
            if following is None:
                break
            item = following
        covers = item is not None and item.from_sequence <= entry.sequence <= item.to_sequence
        yield Record(entry, head, item if covers else None)
