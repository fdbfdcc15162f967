"""Billing runs: the segments that they are divided into, and the totals of an invocation. Pure."""

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal

from usage_billing.billing.settlement import Settlement
from usage_billing.kernel.errors import QueueUnavailable
from usage_billing.kernel.fields import Strict
from usage_billing.kernel.numbers import EXACT
from usage_billing.usage.ledger import LedgerKey


class Unrated(Exception):
    """The ledger cannot be billed yet: its subscription's plan has no quota for its usage type."""

    def __init__(self, plan_id: str, usage_type: str) -> None:
        super().__init__(f"the plan {plan_id} has no quota for {usage_type}")
        self.plan_id = plan_id
        self.usage_type = usage_type


MAX_REPORTED = 100
"""Maximum failures, and maximum unrated ledgers, that totals list. All are counted."""

FIRST_SEGMENT = "first"


class RunSegment(Strict):
    """A part of a run: the ledgers of one shard, or of one subscription, that come after `after`.

    All shards of a new run share one segment id. Each part that is handed over gets an id of its own.
    """

    run_id: str
    segment_id: str = FIRST_SEGMENT
    shard: str | None = None
    subscription_id: str | None = None
    after: tuple[str, str] | None = None
    """Subscription id and sort key of the last ledger that is done."""

    def starting_after(self, key: LedgerKey) -> "RunSegment":
        """Return the rest of this segment after a ledger."""
        return self.model_copy(update={"after": (key.subscription_id, key.sort_key)})

    def with_id(self, segment_id: str) -> "RunSegment":
        """Return the same ledgers as a segment of its own."""
        return self.model_copy(update={"segment_id": segment_id})


@dataclass(frozen=True, slots=True)
class Failure:
    """A ledger that was not settled, or without `key` all ledgers left of a shard or subscription, and the error."""

    code: str
    key: LedgerKey | None = None
    shard: str | None = None
    subscription_id: str | None = None


@dataclass(frozen=True, slots=True)
class UnratedLedger:
    """A ledger that waits for its plan to get a quota."""

    key: LedgerKey
    plan_id: str


@dataclass(slots=True)
class RunTotals:
    """Totals of one invocation of a run. `unrated` counts the ledgers that wait for a quota.

    `handed_over` has the ids of the segments that were sent to the queue. `hand_over_error` is set if a segment could
    not be sent: its ledgers stay pending for the next run. `failed` and `unrated_ledgers` list the first ones only.
    """

    run_id: str
    settled: int = 0
    items: int = 0
    unrated: int = 0
    failures: int = 0
    handed_over: list[str] = field(default_factory=list)
    amounts: dict[str, Decimal] = field(default_factory=dict)
    quotas_missing: Counter[tuple[str, str]] = field(default_factory=Counter)
    """The number of ledgers that wait for the quota of a plan and usage type."""
    failed: list[Failure] = field(default_factory=list)
    unrated_ledgers: list[UnratedLedger] = field(default_factory=list)
    hand_over_error: QueueUnavailable | None = None

    def add(self, settlement: Settlement) -> None:
        self.settled += 1
        if item := settlement.item:
            self.items += 1
            self.amounts[item.currency] = EXACT.add(self.amounts.get(item.currency, Decimal(0)), item.amount)

    def add_failure(self, failure: Failure) -> None:
        self.failures += 1
        if len(self.failed) < MAX_REPORTED:
            self.failed.append(failure)

    def add_unrated(self, key: LedgerKey, unrated: Unrated) -> None:
        self.unrated += 1
        self.quotas_missing[unrated.plan_id, unrated.usage_type] += 1
        if len(self.unrated_ledgers) < MAX_REPORTED:
            self.unrated_ledgers.append(UnratedLedger(key, unrated.plan_id))
