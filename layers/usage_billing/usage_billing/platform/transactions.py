"""DynamoDB transactions: write several items or none, and distinguish a lost race from a failure."""

from collections.abc import Sequence
from typing import Any

from pynamodb.exceptions import CancellationReason, TransactWriteError

from usage_billing.platform.tables import connection


def write(
    puts: Sequence[dict[str, Any]], updates: Sequence[dict[str, Any]], deletes: Sequence[dict[str, Any]] = ()
) -> None:
    """Write everything in one transaction, or nothing.

    Cancellation reasons come in the order of deletes, puts, then updates.
    """
    connection().transact_write_items(
        condition_check_items=(), delete_items=deletes, put_items=puts, update_items=updates
    )


def cancellation_reasons(error: TransactWriteError) -> list[CancellationReason | None]:
    """Return why a transaction lost a race: one reason per item, None for an item that did not.

    Raises:
        TransactWriteError: `error` itself, if the transaction failed for any other reason.
    """
    reasons = error.cancellation_reasons
    if not reasons or any(each and each.code not in _RACES for each in reasons):
        raise error
    return reasons


_CONDITION_FAILED = "ConditionalCheckFailed"
_RACES = (_CONDITION_FAILED, "TransactionConflict")


def old_item(reason: CancellationReason | None) -> dict[str, Any] | None:
    """Return the stored item that made the condition fail, if there is one."""
    return reason.raw_item if reason and reason.code == _CONDITION_FAILED else None
