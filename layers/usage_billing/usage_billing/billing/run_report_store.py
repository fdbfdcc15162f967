"""Load and save the attempts of billing runs, one row for each, and load the reports composed of them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from pynamodb.exceptions import PutError

from usage_billing.billing.model import Failure, RunTotals, UnratedLedger
from usage_billing.billing.run_reports import Attempt, RunReport, RunStatus, compose
from usage_billing.kernel.errors import RunNotFound
from usage_billing.kernel.exact_json import dumps, loads
from usage_billing.kernel.instants import instant, iso
from usage_billing.kernel.numbers import as_text
from usage_billing.platform.dynamodb import error_code
from usage_billing.platform.tables import BillingRunTable
from usage_billing.usage.ledger import LedgerKey

RETENTION = timedelta(days=400)

_LIST = "runs"
"""The partition that lists all runs by their start. No run has this id."""


def report(run_id: str, now: datetime) -> RunReport:
    """Return the report of a run, read consistently.

    Raises:
        RunNotFound: no run has that id, or it is older than 400 days.
    """
    attempts = _attempts(run_id) if run_id != _LIST else []
    if not attempts:
        raise RunNotFound(f"There is no billing run {run_id}.")
    return compose(attempts, now)


def save(attempt: Attempt) -> None:
    """Save an attempt, unless a higher revision of it is saved already."""
    totals, table = attempt.totals, BillingRunTable
    row = BillingRunTable(
        attempt.run_id,
        f"{attempt.segment_id}#{attempt.attempt_id}",
        segment_id=attempt.segment_id,
        attempt_id=attempt.attempt_id,
        subscription_id=attempt.subscription_id,
        started_at=iso(attempt.started_at),
        updated_at=iso(attempt.updated_at),
        revision=attempt.revision,
        status=RunStatus.COMPLETED.value if attempt.ended else RunStatus.RUNNING.value,
        settled=totals.settled,
        items=totals.items,
        failures=totals.failures,
        unrated=totals.unrated,
        amounts=dumps({currency: as_text(amount) for currency, amount in totals.amounts.items()}),
        failed=dumps([_failure_json(each) for each in totals.failed]),
        unrated_ledgers=dumps([[each.plan_id, *_key_json(each.key)] for each in totals.unrated_ledgers]),
        handed_over=dumps(totals.handed_over),
        expires_at=_expiry(attempt.started_at),
    )
    try:
        row.save(condition=table.run_id.does_not_exist() | (table.revision < attempt.revision))
    except PutError as error:
        if error_code(error) != "ConditionalCheckFailedException":
            raise


def add_to_list(run_id: str, started_at: datetime) -> None:
    """Add a run to the list of all runs. Repeating it with the same values changes nothing."""
    BillingRunTable(_LIST, _position(run_id, started_at), expires_at=_expiry(started_at)).save()


def newest(before: str | None, limit: int) -> list[str]:
    """Return the positions in the list of up to `limit` runs, the newest first, after the position `before`."""
    earlier = BillingRunTable.part < before if before else None
    rows = BillingRunTable.query(_LIST, earlier, consistent_read=True, scan_index_forward=False, limit=limit)
    return [row.part for row in rows]


def report_at(position: str, now: datetime) -> RunReport | None:
    """Return the report of the run at a position of the list, without the ledgers that failed or are unrated.

    Return None if the run was cut off before its first row was saved.
    """
    shown = [name for name in BillingRunTable.get_attributes() if name not in ("failed", "unrated_ledgers")]
    attempts = _attempts(position.rpartition("#")[2], shown)
    return compose(attempts, now) if attempts else None


def _position(run_id: str, started_at: datetime) -> str:
    return f"{started_at.isoformat(timespec='milliseconds')}#{run_id}"


def _expiry(started_at: datetime) -> int:
    return int((started_at + RETENTION).timestamp())


def _attempts(run_id: str, attributes: Sequence[str] | None = None) -> list[Attempt]:
    """Return the attempts of a run. Read only `attributes` of each, if given."""
    rows = BillingRunTable.query(run_id, consistent_read=True, attributes_to_get=attributes)
    return [_attempt(row) for row in rows]


def _attempt(row: BillingRunTable) -> Attempt:
    return Attempt(
        run_id=row.run_id,
        segment_id=row.segment_id,
        attempt_id=row.attempt_id,
        subscription_id=row.subscription_id,
        started_at=instant(row.started_at),
        updated_at=instant(row.updated_at),
        revision=row.revision,
        ended=row.status == RunStatus.COMPLETED,
        totals=RunTotals(
            run_id=row.run_id,
            settled=row.settled,
            items=row.items,
            failures=row.failures,
            unrated=row.unrated,
            amounts={currency: Decimal(amount) for currency, amount in loads(row.amounts).items()},
            failed=[_failure(*each) for each in loads(row.failed or "[]")],
            unrated_ledgers=[
                UnratedLedger(LedgerKey.parse(*key), plan) for plan, *key in loads(row.unrated_ledgers or "[]")
            ],
            handed_over=loads(row.handed_over),
        ),
    )


def _key_json(key: LedgerKey) -> list[str]:
    return [key.subscription_id, key.sort_key]


def _failure_json(failure: Failure) -> list[Any]:
    return [failure.code, failure.key and _key_json(failure.key), failure.shard, failure.subscription_id]


def _failure(code: str, key: list[str] | None, shard: str | None, subscription_id: str | None) -> Failure:
    return Failure(code, LedgerKey.parse(*key) if key else None, shard, subscription_id)
