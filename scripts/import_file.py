"""Import quotas or subscriptions from a JSON file. If any entry is invalid, nothing is imported.

Before it writes quotas, the command shows what they cost and asks. `--yes` answers the question.

python -m scripts.import_file quotas|subscriptions FILE [--yes]
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from scripts.client import Client, body_of, target
from scripts.price_table import show_prices
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
    """A quota in the format of the API. In a file, each entry also has the plan and the usage type."""

    plan_id: Identifier
    usage_type: Identifier


QUOTAS = "quotas"

ModelT = TypeVar("ModelT", Quota, Subscription)


@dataclass(frozen=True, slots=True)
class EntryError:
    """An error in one entry of the file. Entries are counted from 0."""

    index: int
    field: str
    reason: str

    def __str__(self) -> str:
        return f"  entry {self.index}, {self.field}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Imported:
    """How many entries of a file were imported. Those that the API had already were not written again."""

    kind: str
    entries: int
    unchanged: int = 0

    def __str__(self) -> str:
        if self.unchanged and self.unchanged == self.entries:
            return f"Nothing to write: the API has all {self.entries} {self.kind} already"
        unchanged = f", {self.unchanged} of them unchanged" if self.unchanged else ""
        return f"Imported {self.entries} {self.kind}{unchanged}"


def main() -> int:
    arguments = _arguments()
    try:
        if not arguments.file:
            raise Failure(f"FILE is missing: make {arguments.kind} FILE=examples/{arguments.kind}.json")
        with Client(target()) as api:
            if arguments.kind == QUOTAS:
                imported = import_quotas(
                    api, Path(arguments.file), lambda new: review_prices(api, new, yes=arguments.yes)
                )
            else:
                imported = import_subscriptions(api, Path(arguments.file))
        print(f"  {imported}: {api.url}")
    except Failure as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Import quotas or subscriptions from a JSON file. If any entry is invalid, nothing is imported."
    )
    parser.add_argument("kind", choices=[QUOTAS, "subscriptions"])
    parser.add_argument("file", help="a JSON list of quotas or subscriptions, in the format of the API")
    parser.add_argument("--yes", action="store_true", help="write quotas without asking whether their prices are right")
    return parser.parse_args()


def import_quotas(api: Client, file: Path, review: Callable[[Sequence[Quota]], None] = lambda quotas: None) -> Imported:
    """Write the quotas in `file`, in their order. A quota that is in force as it is in the file is not written again.

    `review` gets all of them first, and can raise an error instead.

    Raises:
        Failure: an entry is invalid and nothing was written, or the API refused an entry.
    """
    quotas = _checked(file, Quota, lambda quota: (quota.plan_id, quota.usage_type, quota.effective_from))
    _refuse(file, [*_currencies_in_file(quotas), *_currencies_in_store(api, quotas)])
    review(quotas)
    unchanged = 0
    for quota in quotas:
        path = f"/api/usage/quotas/{quota.plan_id}/{quota.usage_type}"
        before = list(_versions(api, path))
        unchanged += _version(_put(api, path, quota)) in before
    return Imported("quotas", len(quotas), unchanged)


def import_subscriptions(api: Client, file: Path) -> Imported:
    """Write the subscriptions in `file`. Warn about plans without quotas.

    Raises:
        Failure: an entry is invalid and nothing was written, or the API refused an entry.
    """
    subscriptions = _checked(file, Subscription, lambda subscription: subscription.subscription_id)
    _refuse(file, list(_other_users(api, subscriptions)))
    for plan_id in sorted({subscription.plan_id for subscription in subscriptions}):
        if not next(_stored_quotas(api, plan_id), None):
            print(f"  Warning: the plan {plan_id} has no quotas yet. Its usage is billed once it has quotas.")
    for subscription in subscriptions:
        _put(api, f"/api/subscriptions/{subscription.subscription_id}", subscription)
    return Imported("subscriptions", len(subscriptions))


def review_prices(api: Client, quotas: Sequence[Quota], *, yes: bool) -> None:
    """Show what the quotas cost, and ask whether to write them unless `yes`.

    Raises:
        Failure: the answer is not yes, or there is no terminal to ask.
    """
    for quota in quotas:
        show_prices(api, quota)
    if yes:
        return
    if not sys.stdin.isatty():
        raise Failure(
            "Nothing was written, because there is no terminal to ask whether these prices are right. If they are, add "
            "--yes, or with make: YES=1."
        )
    try:
        answer = input(f"  Write these {len(quotas)} quotas to {api.url}? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise Failure("Nothing was written.")


def _checked(file: Path, model: type[ModelT], key: Callable[[ModelT], object]) -> list[ModelT]:
    """Return the entries of `file`, and fail if one is invalid or if two have the same key."""
    found: list[ModelT] = []
    errors: list[EntryError] = []
    first: dict[object, int] = {}
    for index, entry in enumerate(_entries(file)):
        try:
            parsed = model.model_validate(entry, by_alias=True, by_name=False)
        except ValidationError as error:
            errors += _errors(index, error, field_names(model))
            continue
        earlier = first.setdefault(key(parsed), index)
        if earlier != index:
            errors.append(EntryError(index, _key_fields(model), f"duplicate of entry {earlier}"))
        found.append(parsed)
    _refuse(file, errors)
    return found


def _entries(file: Path) -> list[Any]:
    try:
        entries = loads(file.read_bytes())
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise Failure(f"{file} is not valid JSON: {error}") from None
    if not isinstance(entries, list):
        raise Failure(f"{file} must contain a list: [{{...}}, {{...}}]")
    return entries


def _errors(index: int, error: ValidationError, known: Sequence[str]) -> Iterator[EntryError]:
    for each in error.errors():
        described = field_error({**each, "loc": ("as a whole", *each["loc"])}, known)
        yield EntryError(index, described.field, described.message)


def _key_fields(model: type[Quota | Subscription]) -> str:
    return "planId, usageType and effectiveFrom" if model is Quota else "subscriptionId"


def _refuse(file: Path, errors: Sequence[EntryError]) -> None:
    if errors:
        lines = "\n".join(map(str, sorted(errors, key=lambda each: each.index)))
        raise Failure(f"{file} was not imported; nothing was written. Errors, with entries counted from 0:\n{lines}")


def _currencies_in_file(quotas: Sequence[Quota]) -> Iterator[EntryError]:
    """Yield quotas whose currency differs from the plan's first quota in the file. An invoice has one currency."""
    first: dict[str, tuple[int, str]] = {}
    for index, quota in enumerate(quotas):
        earlier, currency = first.setdefault(quota.plan_id, (index, quota.currency))
        if quota.currency != currency:
            yield EntryError(index, "currency", f"the plan {quota.plan_id} is in {currency}, see entry {earlier}")


def _currencies_in_store(api: Client, quotas: Sequence[Quota]) -> Iterator[EntryError]:
    """Yield quotas whose currency differs from that of the stored plan."""
    first = {plan_id: next(_stored_quotas(api, plan_id), None) for plan_id in {quota.plan_id for quota in quotas}}
    for index, quota in enumerate(quotas):
        stored = first[quota.plan_id]
        if stored and stored["currency"] != quota.currency:
            yield EntryError(
                index, "currency", f"the plan {quota.plan_id} is in {stored['currency']}, which cannot change"
            )


def _stored_quotas(api: Client, plan_id: str) -> Iterator[Any]:
    return _listed(api, f"/api/usage/quotas/{plan_id}", "quotas")


def _versions(api: Client, path: str) -> Iterator[tuple[str, str]]:
    """Yield the versions of a quota, each as `_version` returns it."""
    if api.get(path).code != "quota_not_found":
        yield from map(_version, _listed(api, f"{path}/versions", "versions"))


def _version(quota: Any) -> tuple[str, str]:
    """Return what tells a version from all others: from when on it is in force, and when it was written."""
    return quota["effectiveFrom"], quota["changedAt"]


def _listed(api: Client, path: str, name: str) -> Iterator[Any]:
    query: dict[str, str] = {}
    while True:
        page = body_of(api.get(path, **query), f"GET {path}")
        yield from page[name]
        if "nextCursor" not in page:
            return
        query = {"cursor": page["nextCursor"]}


def _other_users(api: Client, subscriptions: Sequence[Subscription]) -> Iterator[EntryError]:
    """Yield subscriptions that are stored with another user. The user of a subscription cannot change."""
    for index, subscription in enumerate(subscriptions):
        response = api.get(f"/api/subscriptions/{subscription.subscription_id}")
        if response.code == "subscription_not_found":
            continue
        stored = body_of(response, f"Subscription {subscription.subscription_id}")
        if stored["userId"] != subscription.user_id:
            yield EntryError(
                index, "userId", f"{subscription.subscription_id} belongs to {stored['userId']}, which cannot change"
            )


def _put(api: Client, path: str, value: Strict) -> Any:
    try:
        return body_of(api.put(path, value.model_dump(by_alias=True)), f"PUT {path}")
    except Failure as failure:
        message = f"{failure}\nThe entries before it were written. It is safe to import the file again."
        raise Failure(message) from None


if __name__ == "__main__":
    sys.exit(main())
