"""Import quotas or subscriptions from a JSON file: all of them, or none if any is faulty.

python -m scripts.import_file quotas|subscriptions FILE
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from scripts.client import Client, entirely, target
from scripts.progress import Failure
from usage_billing.kernel.exact_json import loads
from usage_billing.kernel.identifiers import Identifier
from usage_billing.plans.api import QuotaTerms
from usage_billing.subscriptions.api import Subscription
from usage_billing.web.field_errors import field_error, field_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from usage_billing.kernel.fields import Strict


class Quota(QuotaTerms):
    """A quota as the API takes it. A file has no path, so plan and usage type stand in each entry."""

    plan_id: Identifier
    usage_type: Identifier


ModelT = TypeVar("ModelT", Quota, Subscription)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one entry of the file, counted from 0."""

    index: int
    field: str
    reason: str

    def __str__(self) -> str:
        return f"  entry {self.index}, {self.field}: {self.reason}"


def main() -> int:
    arguments = _arguments()
    try:
        if not arguments.file:
            raise Failure(f"Which file? make {arguments.kind} FILE=examples/{arguments.kind}.json")
        with Client(target()) as api:
            written = IMPORTS[arguments.kind](api, Path(arguments.file))
        print(f"  {arguments.kind}: {written} imported to {api.url}")
    except Failure as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Import quotas or subscriptions: all of a file, or nothing.")
    parser.add_argument("kind", choices=sorted(IMPORTS))
    parser.add_argument("file", help="JSON: a list of what the API takes")
    return parser.parse_args()


def import_quotas(api: Client, file: Path) -> int:
    """Put the quotas of `file` and say how many.

    Raises:
        Failure: entries are faulty, and nothing was written; or the API refused one.
    """
    quotas = _checked(file, Quota, lambda quota: (quota.plan_id, quota.usage_type))
    _refuse(file, [*_currencies_in_file(quotas), *_currencies_in_store(api, quotas)])
    for quota in quotas:
        _put(api, f"/api/usage/quotas/{quota.plan_id}/{quota.usage_type}", quota)
    return len(quotas)


def import_subscriptions(api: Client, file: Path) -> int:
    """Put the subscriptions of `file` and say how many. A plan without quotas is worth a warning, no more.

    Raises:
        Failure: entries are faulty, and nothing was written; or the API refused one.
    """
    subscriptions = _checked(file, Subscription, lambda subscription: subscription.subscription_id)
    _refuse(file, list(_other_users(api, subscriptions)))
    for plan_id in sorted({subscription.plan_id for subscription in subscriptions}):
        if not next(_stored_quotas(api, plan_id), None):
            print(f"  Warning: the plan {plan_id} has no quotas yet. Usage waits unrated until it has.")
    for subscription in subscriptions:
        _put(api, f"/api/subscriptions/{subscription.subscription_id}", subscription)
    return len(subscriptions)


IMPORTS: dict[str, Callable[[Client, Path], int]] = {"quotas": import_quotas, "subscriptions": import_subscriptions}


def _checked(file: Path, model: type[ModelT], key: Callable[[ModelT], object]) -> list[ModelT]:
    """The entries of `file`, each valid and of a key of its own."""
    found: list[ModelT] = []
    faults: list[Fault] = []
    first: dict[object, int] = {}
    for index, entry in enumerate(_entries(file)):
        try:
            parsed = model.model_validate(entry, by_alias=True, by_name=False)
        except ValidationError as error:
            faults += _faults(index, error, field_names(model))
            continue
        earlier = first.setdefault(key(parsed), index)
        if earlier != index:
            faults.append(Fault(index, _key_fields(model), f"the same as in entry {earlier}"))
        found.append(parsed)
    _refuse(file, faults)
    return found


def _entries(file: Path) -> list[Any]:
    try:
        entries = loads(file.read_bytes())
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise Failure(f"{file} is not JSON: {error}") from None
    if not isinstance(entries, list):
        raise Failure(f"{file} must hold a list: [{{...}}, {{...}}]")
    return entries


def _faults(index: int, error: ValidationError, known: Sequence[str]) -> Iterator[Fault]:
    for fault in error.errors():
        told = field_error({**fault, "loc": ("as a whole", *fault["loc"])}, known)
        yield Fault(index, told.field, told.message)


def _key_fields(model: type[Quota | Subscription]) -> str:
    return "planId and usageType" if model is Quota else "subscriptionId"


def _refuse(file: Path, faults: Sequence[Fault]) -> None:
    if faults:
        lines = "\n".join(map(str, sorted(faults, key=lambda fault: fault.index)))
        raise Failure(f"{file} was not imported; nothing was written. Its faults, entries counted from 0:\n{lines}")


def _currencies_in_file(quotas: Sequence[Quota]) -> Iterator[Fault]:
    """One currency a plan, because an invoice has one."""
    first: dict[str, tuple[int, str]] = {}
    for index, quota in enumerate(quotas):
        earlier, currency = first.setdefault(quota.plan_id, (index, quota.currency))
        if quota.currency != currency:
            yield Fault(index, "currency", f"the plan {quota.plan_id} is in {currency} by entry {earlier}")


def _currencies_in_store(api: Client, quotas: Sequence[Quota]) -> Iterator[Fault]:
    """A plan that is there keeps the currency of its first quota."""
    first = {plan_id: next(_stored_quotas(api, plan_id), None) for plan_id in {quota.plan_id for quota in quotas}}
    for index, quota in enumerate(quotas):
        stored = first[quota.plan_id]
        if stored and stored["currency"] != quota.currency:
            yield Fault(index, "currency", f"the plan {quota.plan_id} is in {stored['currency']} and keeps it")


def _stored_quotas(api: Client, plan_id: str) -> Iterator[Any]:
    query: dict[str, str] = {}
    while True:
        page = entirely(api.get(f"/api/usage/quotas/{plan_id}", **query), f"Quotas of the plan {plan_id}")
        yield from page["quotas"]
        if "nextCursor" not in page:
            return
        query = {"cursor": page["nextCursor"]}


def _other_users(api: Client, subscriptions: Sequence[Subscription]) -> Iterator[Fault]:
    """A subscription keeps its user for ever."""
    for index, subscription in enumerate(subscriptions):
        answer = api.get(f"/api/subscriptions/{subscription.subscription_id}")
        if answer.code == "subscription_not_found":
            continue
        stored = entirely(answer, f"Subscription {subscription.subscription_id}")
        if stored["userId"] != subscription.user_id:
            yield Fault(index, "userId", f"{subscription.subscription_id} belongs to {stored['userId']} and keeps it")


def _put(api: Client, path: str, value: Strict) -> None:
    try:
        entirely(api.put(path, value.model_dump(by_alias=True)), f"PUT {path}")
    except Failure as failure:
        message = f"{failure}\nThe entries before it are written. Importing the file again is safe."
        raise Failure(message) from None


if __name__ == "__main__":
    sys.exit(main())
