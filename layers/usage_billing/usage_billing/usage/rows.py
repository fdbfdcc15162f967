"""Conversion between entries and heads and the items of their tables."""

from typing import Any

from pynamodb.exceptions import CancellationReason

from usage_billing.kernel.exact_json import dumps, loads
from usage_billing.kernel.instants import instant, iso
from usage_billing.kernel.periods import Period
from usage_billing.plans import price_store
from usage_billing.platform.tables import TermsAttribute, UsageSummaryTable, UsageTable
from usage_billing.platform.transactions import old_item
from usage_billing.pricing.terms import Terms
from usage_billing.usage.ledger import Entry, Head, LedgerKey


def refused_head(reason: CancellationReason | None) -> Head | None:
    """Return the head that made a transaction's condition fail, if there was one."""
    item = old_item(reason)
    return head_of(UsageSummaryTable.from_raw_data(item)) if item else None


def put_of(new: Entry) -> dict[str, Any]:
    """Return a transaction's put of a new entry."""
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


def entry_of(row: UsageTable) -> Entry:
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


def row_of(key: LedgerKey) -> UsageSummaryTable:
    """Return a head's item with nothing but its key, to build updates from."""
    return UsageSummaryTable(key.subscription_id, key.sort_key)


def head_of(row: UsageSummaryTable) -> Head:
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
        price=price_store.price_of(pinned.price),
        unit_name=pinned.unit_name,
        currency=pinned.currency,
        minimum_charge=pinned.minimum_charge,
        maximum_charge=pinned.maximum_charge,
    )


def terms_attribute(rated: Head) -> TermsAttribute:
    pinned = rated.terms
    assert pinned is not None
    return TermsAttribute(  # type: ignore[no-untyped-call]
        plan_id=pinned.plan_id,
        included=pinned.included,
        price=price_store.pinned(pinned.price),
        unit_name=pinned.unit_name,
        currency=pinned.currency,
        minimum_charge=pinned.minimum_charge,
        maximum_charge=pinned.maximum_charge,
    )
