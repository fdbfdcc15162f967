"""What was used in a period: by usage type, and entry by entry with the invoice item that charged it."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from usage_billing.answers.usage import SubscriptionUsage, UsageRecord, UsageRecords
from usage_billing.invoices import store as invoice_store
from usage_billing.invoices.model import InvoiceItem
from usage_billing.kernel import cursors
from usage_billing.kernel.instants import instant
from usage_billing.kernel.periods import Period
from usage_billing.plans import store as quota_store
from usage_billing.subscriptions.model import Subscription
from usage_billing.usage import store as ledger_store
from usage_billing.usage.ledger import Entry, Head, LedgerKey


def usage(
    subscription: Subscription, now: datetime, limit: int, cursor: str | None = None, moment: datetime | None = None
) -> SubscriptionUsage:
    """A page of what a subscription used, by usage type, in the period that holds `moment`, or `now` without one.

    A cursor goes on in the period in which its list began. In a period that has not ended, the plan's usage types that
    have no ledger are there too, with the terms that they would get; in one that has ended they never will be used.

    Raises:
        ValidationFailed: the cursor is not one of this list's, or of another period than that of `moment`.
    """
    period, after = _page(subscription, cursor, moment, now)
    used = ledger_store.heads(subscription.subscription_id, period.key, after, limit + 1)
    heads = {head.key.usage_type: head for head in used}
    if now < period.end:
        for quota in quota_store.recent_quotas(subscription.plan_id, after or None, limit + 1):
            key = LedgerKey.of(subscription.subscription_id, period, quota.usage_type)
            heads.setdefault(quota.usage_type, Head(key, subscription.user_id, period, quota.terms))
    page = [heads[usage_type] for usage_type in sorted(heads)[:limit]]
    more = len(heads) > limit
    next_cursor = cursors.encode(period.key, page[-1].key.usage_type) if more else None
    return SubscriptionUsage.of(subscription, period, page, next_cursor)


def _page(subscription: Subscription, cursor: str | None, moment: datetime | None, now: datetime) -> tuple[Period, str]:
    """The period of a page of usage, and the usage type behind which it begins."""
    if cursor is None:
        return subscription.cycle.period_of(moment or now), ""
    period_start, after = map(str, cursors.decode(cursor, str, str))
    try:
        period = subscription.cycle.period_of(instant(period_start))
    except (ValueError, OverflowError):  # no instant, or one of a year that no period is in
        raise cursors.invalid_cursor() from None
    if period.key != period_start or (moment and moment not in period):
        raise cursors.invalid_cursor()
    return period, after


def records(
    subscription_id: str, period: Period, usage_type: str | None, limit: int, cursor: str | None
) -> UsageRecords:
    """A page of the period's entries: by usage type, and in each ledger by sequence.

    The heads say how many entries there are. Where the index of entries lags behind them, the page ends early with a
    cursor, so that nothing is skipped.

    Raises:
        ValidationFailed: the cursor is not one of this list's.
    """
    after_type, after = _position(cursor, period)
    found: list[UsageRecord] = []
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
            return UsageRecords(records=found, next_cursor=cursors.encode(period.key, head.key.usage_type, last))
    return UsageRecords(records=found)


def record(subscription_id: str, event_id: str) -> UsageRecord | None:
    """The entry that an event id names, with its invoice item, read consistently; None where there is none."""
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


def _with_items(head: Head, entries: Sequence[Entry]) -> Iterator[UsageRecord]:
    items = invoice_store.items_from(head.key, entries[0].sequence) if entries else iter(())
    item: InvoiceItem | None = None
    for entry in entries:
        while entry.sequence <= head.billed_through and (item is None or item.to_sequence < entry.sequence):
            following = next(items, None)
            if following is None:
                break
            item = following
        covers = item is not None and item.from_sequence <= entry.sequence <= item.to_sequence
        yield UsageRecord.of(entry, head, item if covers else None)
