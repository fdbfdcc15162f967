"""Billing runs: their segments and totals. Pure."""

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from uuid import uuid4

from usage_billing.billing.settlement import Settlement
from usage_billing.kernel import shards
from usage_billing.kernel.errors import QueueUnavailable
from usage_billing.kernel.fields import Strict
from usage_billing.kernel.numbers import EXACT
from usage_billing.usage.ledger import LedgerKey


class Unrated(Exception):
    """A ledger cannot be billed yet: the plan of its subscription has no quota for it."""

    def __init__(self, plan_id: str, usage_type: str) -> None:
        super().__init__(f"the plan {plan_id} has no quota for {usage_type}")
        self.plan_id = plan_id
        self.usage_type = usage_type


MAX_NAMED = 100
"""How many failures and how many unrated ledgers are named; all are counted."""

FIRST_SEGMENT = "first"


class RunSegment(Strict):
    """A part of a run: the ledgers of one shard, or of one subscription, beginning behind `after`.

    All shards of a new run are one segment; each that is handed over is one of its own.
    """

    run_id: str
    segment_id: str = FIRST_SEGMENT
    shard: str | None = None
    subscription_id: str | None = None
    after: tuple[str, str] | None = None
    """Subscription id and sort key of the last ledger that was taken care of."""

    def behind(self, key: LedgerKey) -> "RunSegment":
        return self.model_copy(update={"after": (key.subscription_id, key.sort_key)})

    def as_new(self) -> "RunSegment":
        """Return the same part under an id of its own."""
        return self.model_copy(update={"segment_id": uuid4().hex})


def whole_run(subscription_id: str | None = None, run_id: str | None = None) -> list[RunSegment]:
    """Return the first segment of a new run over everything, or over one subscription."""
    run_id = run_id or uuid4().hex
    if subscription_id is not None:
        return [RunSegment(run_id=run_id, subscription_id=subscription_id)]
    return [RunSegment(run_id=run_id, shard=str(shard)) for shard in range(shards.SHARDS)]


@dataclass(frozen=True, slots=True)
class Failure:
    """What was not done, and why: a ledger, or without `key` all ledgers of a shard or subscription that were left."""

    code: str
    key: LedgerKey | None = None
    shard: str | None = None
    subscription_id: str | None = None


@dataclass(frozen=True, slots=True)
class UnratedLedger:
    """A ledger that waits for a quota of the plan."""

    key: LedgerKey
    plan_id: str


@dataclass(slots=True)
class RunTotals:
    """What one invocation did. `unrated` ledgers wait for a quota; the segments `handed_over` go on in the queue.

    `failed` and `unrated_ledgers` name the first ones. `stranded` is why a segment could not be handed over: its
    ledgers stay pending for the next run.
    """

    run_id: str
    settled: int = 0
    items: int = 0
    unrated: int = 0
    failures: int = 0
    handed_over: list[str] = field(default_factory=list)
    amounts: dict[str, Decimal] = field(default_factory=dict)
    quotas_missing: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How many ledgers wait for the quota of a plan and usage type."""
    failed: list[Failure] = field(default_factory=list)
    unrated_ledgers: list[UnratedLedger] = field(default_factory=list)
    stranded: QueueUnavailable | None = None

    def add(self, settlement: Settlement) -> None:
        self.settled += 1
        if item := settlement.item:
            self.items += 1
            self.amounts[item.currency] = EXACT.add(self.amounts.get(item.currency, Decimal(0)), item.amount)

    def add_failure(self, failure: Failure) -> None:
        self.failures += 1
        if len(self.failed) < MAX_NAMED:
            self.failed.append(failure)

    def add_unrated(self, key: LedgerKey, unrated: Unrated) -> None:
        self.unrated += 1
        self.quotas_missing[unrated.plan_id, unrated.usage_type] += 1
        if len(self.unrated_ledgers) < MAX_NAMED:
            self.unrated_ledgers.append(UnratedLedger(key, unrated.plan_id))
