"""Settle one ledger: pin its terms if it has none, and save the settlement, repeating it after a lost race."""

from collections.abc import Callable
from datetime import datetime

from usage_billing.billing import store
from usage_billing.billing.settlement import Settlement, settle
from usage_billing.billing.unrated_ledgers import Rating
from usage_billing.kernel.errors import LedgerBusy
from usage_billing.platform.retries import attempts
from usage_billing.usage import store as ledger_store
from usage_billing.usage.ledger import Head, LedgerKey
from usage_billing.usage.store import HeadMoved


def settle_ledger(
    key: LedgerKey,
    run_id: str,
    now: Callable[[], datetime],
    seen: Head | None = None,
    rating: Rating | None = None,
) -> Settlement | None:
    """Settle one ledger. Return None if nothing was left to settle. `seen` is its head, if it was read a moment ago.

    Raises:
        Unrated: there is no quota to bill it by; it stays pending.
        InvoiceNotDraft, InvoiceCurrencyMismatch: its invoice does not accept the charge; it stays pending.
        LedgerBusy: every attempt lost a race; it stays pending.
    """
    head = seen or ledger_store.head(key)
    rating = rating or Rating()
    for _ in attempts():
        if head is None or head.is_settled:
            return None
        settlement = settle(head if head.terms else rating.rated(head), run_id, now())
        try:
            store.save_settlement(settlement, head)
        except HeadMoved as moved:
            head = moved.head or ledger_store.head(key)
        else:
            return settlement
    raise LedgerBusy(f"Other writers kept changing the ledger {key.ledger_id}.")
