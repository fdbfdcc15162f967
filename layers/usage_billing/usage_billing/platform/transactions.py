"""DynamoDB transactions: write several items or none, and tell a lost race from a failure."""

from collections.abc import Sequence
from typing import Any

from pynamodb.exceptions import CancellationReason, TransactWriteError

from usage_billing.platform.tables import connection


def write(puts: Sequence[dict[str, Any]], updates: Sequence[dict[str, Any]]) -> None:
    """Write all of it in one transaction, or nothing. The reasons of a refusal come in this order."""
    connection().transact_write_items(condition_check_items=(), delete_items=(), put_items=puts, update_items=updates)


def cancellation(error: TransactWriteError) -> list[CancellationReason | None]:
    """Return why a transaction lost a race, one reason per item.

    Raises:
        TransactWriteError: it did not; it failed.
    """
    reasons = error.cancellation_reasons
    if not reasons or any(each and each.code not in _RACES for each in reasons):
        raise error
    return reasons


_CONDITION_FAILED = "ConditionalCheckFailed"
_RACES = (_CONDITION_FAILED, "TransactionConflict")


def old_item(reason: CancellationReason | None) -> dict[str, Any] | None:
    """The item that made a condition fail, if there was one."""
    return reason.raw_item if reason and reason.code == _CONDITION_FAILED else None
