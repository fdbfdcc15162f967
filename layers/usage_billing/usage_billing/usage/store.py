"""Load ledgers, and append entries to them.

Other PynamoDB exceptions are not caught: the call may or may not have taken effect, so callers must be safe to
run again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pynamodb.exceptions import DoesNotExist, TransactWriteError
from pynamodb.expressions.update import Action

from usage_billing.kernel.instants import iso
from usage_billing.kernel.shards import shard_of
from usage_billing.platform.batch_reads import MAX_KEYS, read_together
from usage_billing.platform.dynamodb import Table
from usage_billing.platform.start_times import MAX_READ_SECONDS, StartTime
from usage_billing.platform.tables import LedgerIndex, SubscriptionTable, UsageSummaryTable, UsageTable
from usage_billing.platform.transactions import cancellation_reasons, old_item, write
from usage_billing.subscriptions.model import Subscription
from usage_billing.subscriptions.store import subscription_of
from usage_billing.usage.ledger import Entry, Head, LedgerKey
from usage_billing.usage.rows import entry_of, head_of, put_of, refused_head, row_of, terms_attribute

MAX_ENTRIES = 99
"""Maximum entries in one transaction. DynamoDB allows 100 items, and one of them is the head."""


class EventsExist(Exception):
    """Nothing was written: some event ids are already recorded; `stored` has those entries."""

    def __init__(self, stored: Sequence[Entry]) -> None:
        super().__init__(f"{len(stored)} of the events exist")
        self.stored = stored


class ReadTooOld(Exception):
    """Nothing was written: what the entries are based on was read too long ago, and has to be read again."""


class HeadMoved(Exception):
    """Nothing was written: the ledger changed after it was read. `head` is its current head, or None if unknown."""

    def __init__(self, head: Head | None) -> None:
        super().__init__("the head moved")
        self.head = head


LEDGERS_PER_READ = 33
"""Maximum ledgers that are read with one call. Each takes up to three keys, of the 100 that DynamoDB allows: its head,
its subscription, and in future the balance of its prepaid units."""


@dataclass(frozen=True, slots=True)
class LedgerState:
    """A ledger and its subscription, read in one call. `head` is None if the ledger is not open."""

    key: LedgerKey
    subscription: Subscription | None
    head: Head | None
    read: StartTime

    @property
    def last_sequence(self) -> int:
        return self.head.last_sequence if self.head else 0


def read_ledgers(keys: Sequence[LedgerKey]) -> list[LedgerState]:
    """Return up to `LEDGERS_PER_READ` different ledgers and their subscriptions, read consistently in one call.

    Raises:
        KeysNotRead: not all of them could be read.
    """
    read = StartTime.now()
    names = dict.fromkeys(key.subscription_id for key in keys)
    rows = read_together(
        {
            SubscriptionTable: [{"subscription_id": name} for name in names],
            UsageSummaryTable: [_head_key(key) for key in keys],
        }
    )
    subscriptions = {row.subscription_id: subscription_of(row) for row in rows if isinstance(row, SubscriptionTable)}
    heads = _heads_by_key(rows)
    return [LedgerState(key, subscriptions.get(key.subscription_id), heads.get(key), read) for key in keys]


def head(key: LedgerKey) -> Head | None:
    """Return a ledger's head, read consistently, or None if the ledger is not open."""
    try:
        return head_of(UsageSummaryTable.get(key.subscription_id, key.sort_key, consistent_read=True))
    except DoesNotExist:
        return None


def heads(subscription_id: str, period_start: str, after: str = "", limit: int | None = None) -> list[Head]:
    """Return the heads of a subscription in one period, by usage type, read consistently.

    Return only usage types after `after`, and up to `limit` of them if it is given.
    """
    # BETWEEN includes its bounds. `!` sorts before `#` and `$` after it, and every character of a usage type
    # sorts after all three.
    in_period = UsageSummaryTable.ledger.between(f"{period_start}#{after}!", f"{period_start}$")
    rows = UsageSummaryTable.query(subscription_id, in_period, consistent_read=True, limit=limit)
    return [head_of(row) for row in rows]


def has_heads(subscription_id: str, period_start: str, count: int) -> bool:
    """Return True if a subscription has at least `count` ledgers in a period, read consistently."""
    in_period = UsageSummaryTable.ledger.startswith(f"{period_start}#")
    return UsageSummaryTable.count(subscription_id, in_period, consistent_read=True, limit=count) >= count


def entry(subscription_id: str, event_id: str) -> Entry | None:
    """Return the entry with an event id of a subscription, read consistently, or None if there is none."""
    try:
        return entry_of(UsageTable.get(subscription_id, event_id, consistent_read=True))
    except DoesNotExist:
        return None


ENTRIES_PER_READ = MAX_KEYS
"""Maximum entries that are read with one call."""


def entries_of(subscription_id: str, event_ids: Iterable[str]) -> dict[str, Entry]:
    """Return the entries that exist of up to `ENTRIES_PER_READ` event ids, by event id, read consistently in one call.

    Raises:
        KeysNotRead: not all of them could be read.
    """
    keys = [{"subscription_id": subscription_id, "event_id": each} for each in dict.fromkeys(event_ids)]
    return {row.event_id: entry_of(row) for row in read_together({UsageTable: keys}) if isinstance(row, UsageTable)}


def entries(key: LedgerKey, after: int, limit: int) -> list[Entry]:
    """Return up to `limit` entries of a ledger after sequence `after`, in order and without gaps.

    The list may be incomplete, because the index may lag behind the ledger by a moment.
    """
    rows = UsageTable.ledger_index.query(key.ledger_id, LedgerIndex.sequence > after, limit=limit)
    found: list[Entry] = []
    for expected, row in enumerate(rows, after + 1):
        if row.sequence != expected:
            break
        found.append(entry_of(row))
    return found


def append(seen: Head, new: Sequence[Entry], after: Head, read: StartTime) -> None:
    """Write `new` entries and update the head from `seen` to `after`, in one transaction. Nothing else writes entries.

    `seen` is the head as read, or the empty head of a ledger to open. `read` is the time of the earliest read that the
    entries are based on: of the subscription, for its status, cycle and plan. Only the head's recording attributes are
    written, and its terms if it gets them now, so concurrent changes by billing are kept.

    Raises:
        ReadTooOld: that was too long ago.
        EventsExist: some event ids are already recorded. Takes precedence over HeadMoved.
        HeadMoved: another transaction was first, or is in progress.
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
        actions.append(row.terms.set(terms_attribute(after)))
        condition &= row.terms.does_not_exist()
    update = row_of(after.key).change(actions, condition)
    puts = [put_of(each) for each in new]
    if read.is_older_than(MAX_READ_SECONDS):
        raise ReadTooOld
    try:
        write(puts, [update])
    except TransactWriteError as error:
        *entry_reasons, head_reason = cancellation_reasons(error)
        stored = [entry_of(UsageTable.from_raw_data(item)) for item in map(old_item, entry_reasons) if item]
        if stored:
            raise EventsExist(stored) from None
        raise HeadMoved(refused_head(head_reason)) from None


READ_TOGETHER = 50
"""Maximum heads read with one call. DynamoDB allows 100, but a head that is read long before it is used is outdated."""


def heads_of(keys: Iterable[LedgerKey]) -> dict[LedgerKey, Head]:
    """Return the heads of up to `READ_TOGETHER` ledgers, read consistently in one call.

    Ledgers that are not open are left out.

    Raises:
        KeysNotRead: not all of them could be read.
    """
    return _heads_by_key(read_together({UsageSummaryTable: [_head_key(key) for key in dict.fromkeys(keys)]}))


def _head_key(key: LedgerKey) -> dict[str, str]:
    return {"subscription_id": key.subscription_id, "ledger": key.sort_key}


def _heads_by_key(rows: Iterable[Table]) -> dict[LedgerKey, Head]:
    heads = (head_of(row) for row in rows if isinstance(row, UsageSummaryTable))
    return {head.key: head for head in heads}
