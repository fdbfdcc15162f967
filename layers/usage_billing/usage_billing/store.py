"""Load and save ledgers in domain types, and the two transactions: append to a ledger, settle a ledger.

PynamoDB's own exceptions come through where a call simply failed; then nobody knows whether it took effect, and every
flow built on this module can be run again.
"""

import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from pynamodb.exceptions import CancellationReason, DoesNotExist, TransactWriteError
from pynamodb.expressions.update import Action

from usage_billing.kernel.errors import InvoiceCurrencyMismatch, InvoiceNotDraft
from usage_billing.kernel.exact_json import dumps, loads
from usage_billing.kernel.instants import instant, iso
from usage_billing.kernel.periods import Period
from usage_billing.ledger import Entry, Head, LedgerKey
from usage_billing.platform.tables import (
    InvoiceTable,
    LedgerIndex,
    TermsAttribute,
    UsageInvoiceItemTable,
    UsageSummaryTable,
    UsageTable,
)
from usage_billing.platform.transactions import cancellation, old_item, write
from usage_billing.pricing.terms import Terms
from usage_billing.settlement import DRAFT, InvoiceItem, Settlement

SHARDS = 16
MOST_ENTRIES = 99
"""How many entries fit into one transaction beside their head: DynamoDB takes 100 items."""

READ_TOGETHER = 50
"""How many heads a run reads with one call: DynamoDB gives 100; what is read long before its turn is old by then."""


# Recording


class EventsExist(Exception):
    """Nothing was written: event ids of the entries to append name entries already, which are `stored`."""

    def __init__(self, stored: Sequence[Entry]) -> None:
        super().__init__(f"{len(stored)} of the events exist")
        self.stored = stored


class HeadMoved(Exception):
    """Nothing was written: the ledger is not as it was read, but as `head`, if that is known."""

    def __init__(self, head: Head | None) -> None:
        super().__init__("the head moved")
        self.head = head


def head(key: LedgerKey) -> Head | None:
    """A ledger's head, read consistently; None where the ledger is not open."""
    try:
        return _head(UsageSummaryTable.get(key.subscription_id, key.sort_key, consistent_read=True))
    except DoesNotExist:
        return None


def heads_of(keys: Sequence[LedgerKey]) -> dict[LedgerKey, Head]:
    """The heads of up to `READ_TOGETHER` ledgers, read consistently in one call.

    Missing is what is not open, and what DynamoDB did not get to.
    """
    names = [{"subscription_id": key.subscription_id, "ledger": key.sort_key} for key in dict.fromkeys(keys)]
    answer = UsageSummaryTable._get_connection().batch_get_item(names, consistent_read=True)  # type: ignore[arg-type]
    rows = [UsageSummaryTable.from_raw_data(item) for items in answer["Responses"].values() for item in items]
    return {head.key: head for head in map(_head, rows)}


def heads(subscription_id: str, period_start: str, after: str = "", limit: int | None = None) -> list[Head]:
    """The heads of a subscription in one period, by usage type, read consistently.

    Up to `limit` of them, if that is given, beginning behind the usage type `after`.
    """
    # BETWEEN includes its bounds. `!` and `$` lie around `#`, and all of them before what a usage type may hold.
    in_period = UsageSummaryTable.ledger.between(f"{period_start}#{after}!", f"{period_start}$")
    rows = UsageSummaryTable.query(subscription_id, in_period, consistent_read=True, limit=limit)
    return [_head(row) for row in rows]


def has_heads(subscription_id: str, period_start: str, count: int) -> bool:
    """Whether a subscription has at least so many ledgers in a period, read consistently."""
    in_period = UsageSummaryTable.ledger.startswith(f"{period_start}#")
    return UsageSummaryTable.count(subscription_id, in_period, consistent_read=True, limit=count) >= count


def entry(subscription_id: str, event_id: str) -> Entry | None:
    """The entry that an event id names in its subscription, read consistently."""
    try:
        return _entry(UsageTable.get(subscription_id, event_id, consistent_read=True))
    except DoesNotExist:
        return None


def entries(key: LedgerKey, after: int, limit: int) -> list[Entry]:
    """Up to `limit` entries of a ledger behind sequence `after`, in order and without a gap.

    They come from an index that may lag behind the ledger by a moment: a list that ends early may have a sequel.
    """
    rows = UsageTable.ledger_index.query(key.ledger_id, LedgerIndex.sequence > after, limit=limit)
    found: list[Entry] = []
    for expected, row in enumerate(rows, after + 1):
        if row.sequence != expected:
            break
        found.append(_entry(row))
    return found


def append(seen: Head, new: Sequence[Entry], after: Head) -> None:
    """Write `new` entries and move the head from `seen` to `after`, in one transaction; the only way into a ledger.

    `seen` is the head as read, or the empty head of a ledger to open. Only the head's recording attributes are
    written, and its terms if it gets them now: what billing wrote meanwhile stays.

    Raises:
        EventsExist: an event id is taken. Comes before HeadMoved.
        HeadMoved: another transaction was first, or is under way.
    """
    opens = seen.last_sequence == 0
    row = UsageSummaryTable
    condition = row.last_sequence.does_not_exist() if opens else row.last_sequence == seen.last_sequence
    actions: list[Action] = [
        row.last_sequence.set(after.last_sequence),
        row.used.set(after.used),
        row.pending.set(shard_of(after.key.ledger_id)),
    ]
    if opens:
        actions += [
            row.user_id.set(after.user_id),
            row.period_end.set(iso(after.period.end)),
            row.billed_through.set(after.billed_through),
            row.billed_quantity.set(after.billed_quantity),
            row.billed_amount.set(after.billed_amount),
            row.billed_items.set(after.billed_items),
        ]
    if after.terms != seen.terms or (opens and after.terms):
        actions.append(row.terms.set(_terms_attribute(after)))
        condition &= row.terms.does_not_exist()
    try:
        write([_put_entry(each) for each in new], [_summary(after.key).change(actions, condition)])
    except TransactWriteError as error:
        *entry_reasons, head_reason = cancellation(error)
        stored = [_entry(UsageTable.from_raw_data(item)) for item in map(old_item, entry_reasons) if item]
        if stored:
            raise EventsExist(stored) from None
        raise HeadMoved(_head_of(head_reason)) from None


def _head_of(reason: CancellationReason | None) -> Head | None:
    item = old_item(reason)
    return _head(UsageSummaryTable.from_raw_data(item)) if item else None


def shard_of(name: str) -> str:
    """The shard of a sparse index that a ledger or an invoice is listed in: "0" to "15"."""
    return str(zlib.crc32(name.encode()) % SHARDS)


def _put_entry(new: Entry) -> dict[str, Any]:
    return UsageTable.new(
        subscription_id=new.key.subscription_id,
        event_id=new.event_id,
        ledger_id=new.key.ledger_id,
        sequence=new.sequence,
        user_id=new.user_id,
        quantity=new.quantity,
        cumulative=new.cumulative,
        billable_quantity=new.billable_quantity,
        occurred_at=iso(new.occurred_at),
        recorded_at=iso(new.recorded_at),
        metadata=dumps(new.metadata) if new.metadata else None,
    )


def _entry(row: UsageTable) -> Entry:
    return Entry(
        key=LedgerKey.parse(row.subscription_id, row.ledger_id.removeprefix(f"{row.subscription_id}#")),
        event_id=row.event_id,
        user_id=row.user_id,
        sequence=row.sequence,
        quantity=row.quantity,
        cumulative=row.cumulative,
        billable_quantity=row.billable_quantity,
        occurred_at=instant(row.occurred_at),
        recorded_at=instant(row.recorded_at),
        metadata=loads(row.metadata) if row.metadata else {},
    )


def _summary(key: LedgerKey) -> UsageSummaryTable:
    return UsageSummaryTable(key.subscription_id, key.sort_key)


def _head(row: UsageSummaryTable) -> Head:
    key = LedgerKey.parse(row.subscription_id, row.ledger)
    return Head(
        key=key,
        user_id=row.user_id,
        period=Period(instant(key.period_start), instant(row.period_end)),
        terms=_terms(row.terms),
        last_sequence=row.last_sequence,
        used=row.used,
        billed_through=row.billed_through,
        billed_quantity=row.billed_quantity,
        billed_amount=row.billed_amount,
        billed_items=row.billed_items or 0,
    )


def _terms(pinned: TermsAttribute | None) -> Terms | None:
    if pinned is None:
        return None
    return Terms(
        plan_id=pinned.plan_id,
        included=pinned.included,
        unit_price=pinned.unit_price,
        unit_name=pinned.unit_name,
        currency=pinned.currency,
    )


def _terms_attribute(rated: Head) -> TermsAttribute:
    pinned = rated.terms
    assert pinned is not None
    return TermsAttribute(  # type: ignore[no-untyped-call]
        plan_id=pinned.plan_id,
        included=pinned.included,
        unit_price=pinned.unit_price,
        unit_name=pinned.unit_name,
        currency=pinned.currency,
    )


# Billing


def pending(shard: str, after: LedgerKey | None = None) -> Iterator[LedgerKey]:
    """The ledgers of a shard with something unsettled, beginning behind `after`, page by page.

    The index may lag by a moment: a ledger may be listed that was settled just now.
    """
    start = None
    if after:
        names = {"pending": shard, "subscription_id": after.subscription_id, "ledger": after.sort_key}
        start = {name: {"S": value} for name, value in names.items()}
    for row in UsageSummaryTable.pending_index.query(shard, last_evaluated_key=start, page_size=500):
        yield LedgerKey.parse(row.subscription_id, row.ledger)


def pending_of(subscription_id: str, after: LedgerKey | None = None) -> Iterator[LedgerKey]:
    """The ledgers of one subscription with something unsettled, read consistently, beginning behind `after`."""
    behind = UsageSummaryTable.ledger > after.sort_key if after else None
    unsettled = UsageSummaryTable.pending.exists()
    rows = UsageSummaryTable.query(subscription_id, behind, filter_condition=unsettled, consistent_read=True)
    for row in rows:
        yield LedgerKey.parse(row.subscription_id, row.ledger)


def save_settlement(new: Settlement, seen: Head) -> None:
    """Write a settlement in one transaction: the head's watermark, the item, the invoice's total.

    `seen` is the head as read; where it had no terms, those of the settlement are pinned. Where entries came since,
    what was read is settled and the ledger stays pending.

    Raises:
        HeadMoved: another settlement was first, or a transaction is under way.
        InvoiceNotDraft, InvoiceCurrencyMismatch: the invoice cannot take the item.
    """
    try:
        _write_settlement(new, seen, keep_pending=False)
    except HeadMoved as moved:
        current = moved.head
        only_recorded = current and (current.billed_through, current.terms) == (seen.billed_through, seen.terms)
        if not only_recorded:
            raise
        _write_settlement(new, seen, keep_pending=True)


def _write_settlement(new: Settlement, seen: Head, *, keep_pending: bool) -> None:
    row, after, item = UsageSummaryTable, new.after, new.item
    condition = row.billed_through == seen.billed_through
    actions: list[Action] = [
        row.billed_through.set(after.billed_through),
        row.billed_quantity.set(after.billed_quantity),
        row.billed_amount.set(after.billed_amount),
        row.billed_items.set(after.billed_items),
    ]
    if not keep_pending:
        condition &= row.last_sequence == seen.last_sequence
        actions.append(row.pending.remove())
    if seen.terms is None:
        condition &= row.terms.does_not_exist()
        actions.append(row.terms.set(_terms_attribute(after)))
    updates = [_summary(after.key).change(actions, condition)]
    if item:
        updates.append(_added_to_invoice(after, item))
    try:
        write([_put_item(item)] if item else [], updates)
    except TransactWriteError as error:
        if item:
            _, head_reason, invoice_reason = cancellation(error)
            taken = old_item(invoice_reason)
        else:
            [head_reason], taken = cancellation(error), None
        if item and taken and not old_item(head_reason):
            raise _refusal(item, InvoiceTable.from_raw_data(taken)) from None
        raise HeadMoved(_head_of(head_reason)) from None


def _added_to_invoice(head: Head, item: InvoiceItem) -> dict[str, Any]:
    row = InvoiceTable
    is_new = row.status.does_not_exist()
    is_open = (row.status == DRAFT) & (row.currency == item.currency)
    return InvoiceTable(head.key.subscription_id, head.key.period_start).change(
        [
            row.status.set(DRAFT),
            row.draft.set(shard_of(item.invoice_id)),
            row.currency.set(item.currency),
            row.user_id.set(head.user_id),
            row.period_end.set(iso(head.period.end)),
            row.total.add(item.amount),
            row.item_count.add(1),
        ],
        is_new | is_open,
    )


def _refusal(item: InvoiceItem, current: InvoiceTable) -> InvoiceNotDraft | InvoiceCurrencyMismatch:
    if current.status != DRAFT:
        return InvoiceNotDraft(f"The invoice {item.invoice_id} is {current.status} and takes no more items.")
    return InvoiceCurrencyMismatch(
        f"The invoice {item.invoice_id} is in {current.currency}, the charge for {item.usage_type} in {item.currency}."
    )


def _put_item(item: InvoiceItem) -> dict[str, Any]:
    return UsageInvoiceItemTable.new(
        invoice_id=item.invoice_id,
        item_id=item.item_id,
        usage_type=item.usage_type,
        period_start=item.period.key,
        period_end=iso(item.period.end),
        description=item.description,
        quantity=item.quantity,
        unit_price=item.unit_price,
        amount=item.amount,
        currency=item.currency,
        from_sequence=item.from_sequence,
        to_sequence=item.to_sequence,
        run_id=item.run_id,
        created_at=iso(item.created_at),
    )
