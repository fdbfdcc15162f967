"""Load, save and delete versions of quotas. Each plan has one currency.

Every change of a plan's versions increments the plan's revision in the same transaction, on condition that the revision
is as it was read before the versions were. So what a change was decided on still holds when it is written, whoever else
changes the plan at the same time.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import groupby, islice
from typing import Any

from pynamodb.exceptions import DoesNotExist, TransactWriteError
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action

from usage_billing.kernel.errors import (
    DatabaseUnavailable,
    PlanCurrencyMismatch,
    QuotaNotFound,
    QuotaVersionInEffect,
    QuotaVersionNotFound,
)
from usage_billing.kernel.instants import instant, iso, soon
from usage_billing.plans import price_store
from usage_billing.plans.model import DeletedVersion, Plan, Quota, QuotaAt, quota_at
from usage_billing.platform.caches import register_cache
from usage_billing.platform.recent_reads import Recent
from usage_billing.platform.retries import attempts
from usage_billing.platform.start_times import MAX_READ_SECONDS, StartTime
from usage_billing.platform.tables import UsageQuotaTable
from usage_billing.platform.transactions import cancellation_reasons, write
from usage_billing.pricing.price_models import PRICE_MODELS

_KIND = "plan"
"""The partition of the index that lists all plans."""

_END = "~"
"""Sorts after every instant, so `{usage_type}#~` sorts between a usage type's versions and those of the next one."""

_VERSIONS_PER_READ = 10
"""Versions of a usage type that are read at once. There are rarely more, and then the next ones are read too."""

recent = register_cache(Recent[tuple[str, str | None, int], list[list[Quota]]](100))
"""Cached pages of a plan's usage types, each with its versions, newest first."""


def version_for(plan_id: str, usage_type: str, period_start: datetime) -> Quota | None:
    """Return the version whose terms a ledger takes whose period starts at `period_start`, read consistently.

    That is the newest version in force then. Where none was, it is the first there is; None if there is none. It takes
    one Query, and a second one only where no version is in force that early.
    """
    first, until = f"{usage_type}#", _key(usage_type, period_start)
    in_force = _query(plan_id, first, until, newest_first=True, limit=1)
    return next(in_force, None) or next(_query(plan_id, first, f"{first}{_END}", limit=1), None)


def quota(plan_id: str, usage_type: str, moment: datetime) -> QuotaAt:
    """Return the version that is in force at `moment`, or else the first there is, and the one that follows it.

    Raises:
        QuotaNotFound: the usage type has no version.
    """
    found = _quota_at(plan_id, usage_type, moment)
    if found is None:
        raise _not_found(plan_id, usage_type)
    return found


def quotas(plan_id: str, moment: datetime, after: str | None = None, limit: int | None = None) -> list[QuotaAt]:
    """Return the same as `quota` for up to `limit` usage types of a plan, in order, after the usage type `after`."""
    found = (quota_at(versions, moment) for versions in _versions_by_type(plan_id, after, limit))
    return [each for each in found if each]


def recent_versions(plan_id: str, after: str | None, limit: int) -> list[list[Quota]]:
    """Return the versions, newest first, of up to `limit` usage types after the usage type `after`.

    They are at most a minute old, from the cache of this process.
    """
    return recent.get((plan_id, after, limit), lambda: list(_versions_by_type(plan_id, after, limit)))


def versions(plan_id: str, usage_type: str, before: str | None, limit: int) -> list[Quota]:
    """Return up to `limit` versions of a quota, newest first, from before the instant `before`, read consistently.

    Raises:
        QuotaNotFound: the usage type has no version; not if `before` is given.
    """
    # BETWEEN includes its bounds. Without its last letter, an instant sorts right before itself.
    last = f"{usage_type}#{before[:-1] if before else _END}"
    found = list(_query(plan_id, f"{usage_type}#", last, newest_first=True, limit=limit))
    if not found and before is None:
        raise _not_found(plan_id, usage_type)
    return found


def plan_currency(plan_id: str) -> str | None:
    """Return the currency of a plan, read consistently, or None if it has never had a quota."""
    plan = _plan_row(plan_id)
    return plan.currency if plan else None


def plans(after: str | None, limit: int) -> list[Plan]:
    """Return up to `limit` plans by id, after the id `after`. A new plan is listed after a moment."""
    behind = UsageQuotaTable.plan_id > after if after else None
    rows = UsageQuotaTable.plan_index.query(_KIND, behind, limit=limit)
    return [Plan(row.plan_id, row.currency, row.changed_by, instant(row.changed_at)) for row in rows]


def save_version(make: Callable[[datetime], Quota], now: Callable[[], datetime]) -> QuotaAt:
    """Save the version that `make(now())` returns. Return it, or the version in force then if that has the same terms.

    A version from the same instant is replaced. Open ledgers keep their terms. Each attempt makes the version afresh,
    because the instant from which it can be in force depends on when the attempt reads.

    The first version of a plan fixes the plan's currency permanently.

    Raises:
        PlanCurrencyMismatch: the plan is in another currency.
        DatabaseUnavailable: too many concurrent changes to the plan; the same version can be saved again.
    """
    for _ in attempts():
        read = StartTime.now()
        new = make(now())
        plan = _plan_row(new.plan_id)
        if plan and plan.currency != new.currency:
            raise PlanCurrencyMismatch(
                f"The plan {new.plan_id} has the currency {plan.currency}, which cannot be changed."
            )
        before = _quota_at(new.plan_id, new.usage_type, new.effective_from)
        if before and before.version.same_terms(new):
            return before
        if not read.is_older_than(MAX_READ_SECONDS) and _written(
            [_put(new)], [_plan_change(plan, new), *price_store.stored_with_quota(new.price)]
        ):
            return QuotaAt(new, _following(new, before))
    raise _busy()


def delete_version(
    plan_id: str, usage_type: str, effective_from: datetime, deleted_by: str, now: Callable[[], datetime]
) -> DeletedVersion:
    """Delete a version that has not taken effect. Return it; again, if it was deleted before.

    Raises:
        QuotaVersionNotFound: no such version exists or was deleted.
        QuotaVersionInEffect: it is in force, or will be so soon that it cannot be deleted before.
        DatabaseUnavailable: too many concurrent changes to the plan; the same version can be deleted again.
    """
    key = _key(usage_type, effective_from)
    for _ in attempts():
        read, read_at = StartTime.now(), now()
        plan = _plan_row(plan_id)
        row = _row(plan_id, key) if plan else None  # a version that is found without its plan was written since then
        if plan is None or row is None:
            return _deleted_before(plan_id, key)
        if effective_from <= soon(read_at):
            raise QuotaVersionInEffect(
                f"The version of {usage_type} in the plan {plan_id} from {iso(effective_from)} is in effect, or will "
                "be in a few seconds. Put a newer version instead."
            )
        deleted = DeletedVersion(_quota(row), deleted_by, read_at)
        if not read.is_older_than(MAX_READ_SECONDS) and _written(
            [_put(deleted.version, deleted)],
            [_plan_change(plan, deleted.version)],
            [row.get_delete_kwargs_from_instance()],
        ):
            return deleted
    raise _busy()


def _following(new: Quota, before: QuotaAt | None) -> Quota | None:
    """Return the version that takes effect after a new one, given what was in force at that instant before."""
    if before is None:
        return None
    return before.next if before.version.effective_from <= new.effective_from else before.version


def _written(
    puts: list[dict[str, Any]], updates: list[dict[str, Any]], deletes: list[dict[str, Any]] | None = None
) -> bool:
    """Write a change of a plan's versions. Return False if it lost a race."""
    try:
        write(puts, updates, deletes or [])
    except TransactWriteError as error:
        cancellation_reasons(error)
        return False
    recent.clear()
    return True


def _plan_change(seen: UsageQuotaTable | None, version: Quota) -> dict[str, Any]:
    """Return the change of a plan's item that comes with every change of a version, if the item is as it was seen."""
    row = UsageQuotaTable
    actions: list[Action] = [row.revision.set(seen.revision + 1 if seen else 1)]
    condition: Condition = row.revision == seen.revision if seen else row.plan_id.does_not_exist()
    if not seen:
        actions += [row.kind.set(_KIND), row.currency.set(version.currency)]
        actions += [row.changed_by.set(version.changed_by), row.changed_at.set(iso(version.changed_at))]
    return row(version.plan_id, row.PLAN).change(actions, condition)


def _put(version: Quota, deleted: DeletedVersion | None = None) -> dict[str, Any]:
    """Return the put of a version, or of the record that it was deleted. Either replaces an earlier one."""
    key = _key(version.usage_type, version.effective_from)
    row = UsageQuotaTable(
        version.plan_id,
        f"{UsageQuotaTable.DELETED}{key}" if deleted else key,
        currency=version.currency,
        changed_by=version.changed_by,
        changed_at=iso(version.changed_at),
        monthly_limit=version.monthly_limit,
        price=PRICE_MODELS.dumps(version.price),
        unit_name=version.unit_name,
        minimum_charge=version.minimum_charge,
        maximum_charge=version.maximum_charge,
        deleted_by=deleted and deleted.deleted_by,
        deleted_at=deleted and iso(deleted.deleted_at),
    )
    return row.get_save_kwargs_from_instance()


def _deleted_before(plan_id: str, key: str) -> DeletedVersion:
    row = _row(plan_id, f"{UsageQuotaTable.DELETED}{key}")
    if row is None:
        usage_type, _, effective_from = key.partition("#")
        raise QuotaVersionNotFound(f"The plan {plan_id} has no version of {usage_type} from {effective_from}.")
    return DeletedVersion(_quota(row), row.deleted_by, instant(row.deleted_at))


def _quota_at(plan_id: str, usage_type: str, moment: datetime) -> QuotaAt | None:
    newest_first = _query(
        plan_id, f"{usage_type}#", f"{usage_type}#{_END}", newest_first=True, page_size=_VERSIONS_PER_READ
    )
    return quota_at(newest_first, moment)


def _versions_by_type(plan_id: str, after: str | None, limit: int | None) -> Iterator[list[Quota]]:
    """Yield the versions of each usage type, newest first."""
    page_size = limit and limit * _VERSIONS_PER_READ
    start = max(f"{after or ''}#{_END}", f"#{_END}")  # behind the items that are not versions, whatever `after` is
    rows = UsageQuotaTable.query(plan_id, UsageQuotaTable.version > start, consistent_read=True, page_size=page_size)
    by_type = groupby(map(_quota, rows), key=lambda version: version.usage_type)
    for _, oldest_first in islice(by_type, limit):
        yield list(oldest_first)[::-1]


def _query(
    plan_id: str,
    first: str,
    last: str,
    *,
    newest_first: bool = False,
    limit: int | None = None,
    page_size: int | None = None,
) -> Iterator[Quota]:
    """Read versions consistently, from one sort key to another, both included."""
    rows = UsageQuotaTable.query(
        plan_id,
        UsageQuotaTable.version.between(first, last),
        consistent_read=True,
        scan_index_forward=not newest_first,
        limit=limit,
        page_size=page_size,
    )
    return map(_quota, rows)


def _plan_row(plan_id: str) -> UsageQuotaTable | None:
    return _row(plan_id, UsageQuotaTable.PLAN)


def _row(plan_id: str, version: str) -> UsageQuotaTable | None:
    try:
        return UsageQuotaTable.get(plan_id, version, consistent_read=True)
    except DoesNotExist:
        return None


def _key(usage_type: str, moment: datetime) -> str:
    """Return the sort key of a version from `moment`, or from the last whole second before it.

    Versions are from whole seconds, so no other version lies between the two.
    """
    return f"{usage_type}#{iso(moment.replace(microsecond=0))}"


def _quota(row: UsageQuotaTable) -> Quota:
    usage_type, _, effective_from = row.version.removeprefix(UsageQuotaTable.DELETED).partition("#")
    return Quota(
        plan_id=row.plan_id,
        usage_type=usage_type,
        monthly_limit=row.monthly_limit,
        price=PRICE_MODELS.loads(row.price),
        unit_name=row.unit_name,
        currency=row.currency,
        minimum_charge=row.minimum_charge,
        maximum_charge=row.maximum_charge,
        effective_from=instant(effective_from),
        changed_by=row.changed_by,
        changed_at=instant(row.changed_at),
    )


def _not_found(plan_id: str, usage_type: str) -> QuotaNotFound:
    return QuotaNotFound(f"The plan {plan_id} has no quota for {usage_type}.")


def _busy() -> DatabaseUnavailable:
    return DatabaseUnavailable("Too many concurrent changes to this plan; send the same request again.")
