"""The ledger of one subscription, usage type and billing period: a chain of entries and one head.

Pure. The invariants are listed in the README of this package.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from usage_billing.kernel.exact_json import dumps
from usage_billing.kernel.numbers import ZERO, add, subtract
from usage_billing.kernel.periods import Period
from usage_billing.pricing.terms import Terms
from usage_billing.usage.events import UsageEvent


@dataclass(frozen=True, slots=True)
class LedgerKey:
    """Names a ledger. `sort_key` orders a subscription's ledgers by period, then by usage type."""

    subscription_id: str
    period_start: str
    usage_type: str

    @classmethod
    def of(cls, subscription_id: str, period: Period, usage_type: str) -> "LedgerKey":
        return cls(subscription_id, period.key, usage_type)

    @classmethod
    def parse(cls, subscription_id: str, sort_key: str) -> "LedgerKey":
        period_start, usage_type = sort_key.split("#", 1)
        return cls(subscription_id, period_start, usage_type)

    @property
    def sort_key(self) -> str:
        return f"{self.period_start}#{self.usage_type}"

    @property
    def ledger_id(self) -> str:
        return f"{self.subscription_id}#{self.sort_key}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One recorded usage event. `cumulative` is the ledger's total up to and including it.

    `billable_quantity` is None when the entry was recorded before the ledger had terms.
    """

    key: LedgerKey
    event_id: str
    user_id: str
    sequence: int
    quantity: Decimal
    cumulative: Decimal
    billable_quantity: Decimal | None
    occurred_at: datetime
    recorded_at: datetime
    metadata: Mapping[str, Any]

    def differences(self, event: UsageEvent) -> tuple[str, ...]:
        """Return the JSON names of the fields in which `event` differs from this entry; none for a replay.

        An event without `occurredAt` leaves that open. `reportedAt` says when a report was made, not what is reported:
        a job that is run again makes a new report of the same event. An `occurredAt` that differs is another event,
        which must not be lost as a replay.
        """
        same = {
            "eventId": self.event_id == event.event_id,
            "subscriptionId": self.key.subscription_id == event.subscription_id,
            "userId": self.user_id == event.user_id,
            "usageType": self.key.usage_type == event.usage_type,
            "quantity": self.quantity == event.quantity,
            "occurredAt": event.occurred_at in (None, self.occurred_at),
            "metadata": dumps(self.metadata, sort_keys=True) == dumps(event.metadata, sort_keys=True),
        }
        return tuple(name for name, is_same in same.items() if not is_same)

    def billable_under(self, terms: Terms | None) -> Decimal | None:
        """Return the billable quantity: as decided when recorded, or else by the terms that the ledger got later."""
        if self.billable_quantity is not None or terms is None:
            return self.billable_quantity
        before = subtract(self.cumulative, self.quantity)
        return subtract(terms.overage(self.cumulative), terms.overage(before))


@dataclass(frozen=True, slots=True)
class Head:
    """A ledger's state after its last entry, and how far it has been billed.

    Without `terms` the ledger is unrated: it records and counts, and is billed once its quota exists.
    """

    key: LedgerKey
    user_id: str
    period: Period
    terms: Terms | None = None
    last_sequence: int = 0
    used: Decimal = ZERO
    billed_through: int = 0
    billed_quantity: Decimal = ZERO
    billed_amount: Decimal = ZERO
    billed_items: int = 0

    def append(self, event: UsageEvent, recorded_at: datetime) -> tuple[Entry, "Head"]:
        """Return the entry for `event`, and the head after it. Units: the quota's unit."""
        [entry], after = self.append_all([event], recorded_at)
        return entry, after

    def append_all(self, events: Iterable[UsageEvent], recorded_at: datetime) -> tuple[list[Entry], "Head"]:
        """Return the entries for `events`, in their order, and the head after the last one."""
        entries: list[Entry] = []
        used, billable = self.used, self.billable
        for sequence, event in enumerate(events, self.last_sequence + 1):
            used, billable_before = add(used, event.quantity), billable
            billable = self.terms.overage(used) if self.terms else None
            entries.append(
                Entry(
                    key=self.key,
                    event_id=event.event_id,
                    user_id=event.user_id,
                    sequence=sequence,
                    quantity=event.quantity,
                    cumulative=used,
                    billable_quantity=_difference(billable, billable_before),
                    occurred_at=event.when(recorded_at),
                    recorded_at=recorded_at,
                    metadata=event.metadata,
                )
            )
        return entries, replace(self, last_sequence=self.last_sequence + len(entries), used=used)

    def rated(self, terms: Terms) -> "Head":
        """Return this head with `terms` pinned. Pinned terms never change."""
        if self.terms is not None:
            raise ValueError(f"{self.key.ledger_id} has terms already")
        return replace(self, terms=terms)

    @property
    def quota(self) -> "QuotaState":
        return QuotaState.of(self.used, self.terms)

    @property
    def is_settled(self) -> bool:
        return self.billed_through == self.last_sequence

    @property
    def billable(self) -> Decimal | None:
        """The billable quantity so far; None while unrated."""
        return self.terms.overage(self.used) if self.terms else None

    @property
    def charge(self) -> Decimal | None:
        """The rounded charge so far, billed or not; None while unrated."""
        return self.terms.amount(self.terms.overage(self.used)) if self.terms else None


@dataclass(frozen=True, slots=True)
class QuotaState:
    """A ledger's `used` compared with its limit; the limit is unknown while the ledger is unrated."""

    used: Decimal
    limit: Decimal | None
    remaining: Decimal | None
    exceeded: bool | None

    @classmethod
    def of(cls, used: Decimal, terms: Terms | None) -> "QuotaState":
        if terms is None:
            return cls(used, None, None, None)
        return cls(used, terms.included, max(ZERO, subtract(terms.included, used)), used > terms.included)


def _difference(after: Decimal | None, before: Decimal | None) -> Decimal | None:
    return None if after is None or before is None else subtract(after, before)
