"""What a batch of usage events answers."""

from collections import Counter
from typing import Literal

from usage_billing.answers.recorded import RecordedUsage
from usage_billing.intake import Queued, Taken
from usage_billing.kernel.errors import BillingError
from usage_billing.kernel.fields import Strict
from usage_billing.web.problems import Problem


class BatchResult(Strict):
    """What became of one event of a batch; `record` or `problem` says more."""

    event_id: str | None
    status: Literal["recorded", "replayed", "queued", "rejected"]
    record: RecordedUsage | None = None
    problem: Problem | None = None

    @classmethod
    def of(cls, event_id: str | None, taken: Taken) -> "BatchResult":
        if isinstance(taken, Queued):
            return cls(event_id=event_id, status="queued")
        if isinstance(taken, BillingError):
            return cls(event_id=event_id, status="rejected", problem=Problem.of(taken))
        status: Literal["recorded", "replayed"] = "replayed" if taken.replayed else "recorded"
        return cls(event_id=event_id, status=status, record=RecordedUsage.of(taken))


class BatchTotals(Strict):
    recorded: int
    replayed: int
    queued: int
    rejected: int


class BatchResults(Strict):
    """One result an event, in the order sent."""

    results: list[BatchResult]
    totals: BatchTotals

    @classmethod
    def of(cls, results: list[BatchResult]) -> "BatchResults":
        counts = Counter(result.status for result in results)
        return cls(
            results=results,
            totals=BatchTotals(
                recorded=counts["recorded"],
                replayed=counts["replayed"],
                queued=counts["queued"],
                rejected=counts["rejected"],
            ),
        )
