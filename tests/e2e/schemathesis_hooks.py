"""Hooks that teach Schemathesis the rules that a schema cannot express. It loads this file in its own process."""

from typing import Any

import schemathesis


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]) -> None:
    """Remove from valid requests the fields whose rules no schema can express. Leave invalid requests unchanged."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    case.query.pop("cursor", None)  # only comes from an earlier response
    if isinstance(case.body, dict):
        for name in case.path_parameters:
            case.body.pop(name, None)  # may be repeated in the body, but must then be equal
        for name in ("occurredAt", "reportedAt"):
            case.body.pop(name, None)  # must lie within the last year
        case.body.pop("cursor", None)
        _make_consistent(case.body.get("quota", case.body))
        if "eventId" in case.body:
            case.headers.pop("Idempotency-Key", None)  # may be sent as well, but must then be equal


def _make_consistent(quota: Any) -> None:
    """Correct the fields of a quota that contradict each other: a price is one, its tiers are in order."""
    if not isinstance(quota, dict):
        return
    if quota.get("maximumCharge") is not None:
        quota.pop("minimumCharge", None)  # must not be greater than maximumCharge
    price = quota.get("price")
    if not isinstance(price, dict):
        return
    quota.pop("unitPrice", None)  # may be sent as well, but must then be equal
    if tiers := price.get("tiers"):
        bounds = sorted({tier["upTo"] for tier in tiers} - {None})[: len(tiers) - 1]
        price["tiers"] = [tier | {"upTo": bound} for tier, bound in zip(tiers, [*bounds, None], strict=False)]


@schemathesis.hook
def filter_failure(
    context: schemathesis.HookContext,
    failure: Exception,
    case: schemathesis.Case[Any],
    response: schemathesis.Response,
) -> bool:
    """Ignore refusals that are right, but follow from rules that JSON Schema cannot express.

    Decimal places: `multipleOf` is inexact for numbers without a finite binary representation. Printable characters:
    a pattern would need Unicode categories, which few validators support.
    """
    if type(failure).__name__ != "RejectedPositiveData" or response.status_code != 422:
        return True
    errors = response.json()["errors"]
    inexpressible = {"must have at most 9 digits after the decimal point", "must contain only printable characters"}
    return not {error["message"] for error in errors} <= inexpressible
