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
        if "eventId" in case.body:
            case.headers.pop("Idempotency-Key", None)  # may be sent as well, but must then be equal


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
    errors = {(error["field"], error["message"]) for error in response.json()["errors"]}
    too_precise = "must have at most 9 digits after the decimal point"
    return not errors <= {
        ("quantity", too_precise),
        ("monthlyLimit", too_precise),
        ("unitPrice", too_precise),
        ("unitName", "must contain only printable characters"),
    }
