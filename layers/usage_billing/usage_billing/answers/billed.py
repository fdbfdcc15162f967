"""What was billed: runs and invoices."""

from usage_billing.billing import RunTotals
from usage_billing.kernel.fields import Strict
from usage_billing.kernel.numbers import as_text


class BillingRun(Strict):
    """What a billing run did. `continues`: the rest is in the queue and goes on under the same run id.

    `ledgersUnrated` wait for a quota of their plan; `failures` stay pending and are tried by the next run.
    """

    run_id: str
    status: str
    ledgers_settled: int
    items_created: int
    failures: int
    ledgers_unrated: int
    totals: dict[str, str]

    @classmethod
    def of(cls, totals: RunTotals) -> "BillingRun":
        return cls(
            run_id=totals.run_id,
            status="continues" if totals.handed_over else "completed",
            ledgers_settled=totals.settled,
            items_created=totals.items,
            failures=totals.failures,
            ledgers_unrated=totals.unrated,
            totals={currency: as_text(amount) for currency, amount in sorted(totals.amounts.items())},
        )
