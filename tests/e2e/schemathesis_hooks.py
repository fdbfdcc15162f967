"""What a schema cannot say, told to Schemathesis. It loads this file by itself, in a process of its own."""

from typing import Any

import schemathesis


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, Any]) -> None:
    """Take from valid requests what no schema could make valid; invalid ones stay as they are."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    case.query.pop("cursor", None)  # only the answer before knows one
    if isinstance(case.body, dict):
        for name in case.path_parameters:
            case.body.pop(name, None)  # may be repeated in the body, and then must be the same
        for name in ("occurredAt", "reportedAt"):
            case.body.pop(name, None)  # of the last year
        case.body.pop("cursor", None)
        if "eventId" in case.body:
            case.headers.pop("Idempotency-Key", None)  # says the same, and then must be the same


@schemathesis.hook
def filter_failure(
    context: schemathesis.HookContext,
    failure: Exception,
    case: schemathesis.Case,
    response: schemathesis.Response,
) -> bool:
    """Leave out what is rightly refused, for a reason that JSON Schema has no words for.

    Decimal places: `multipleOf` is not exact for numbers that binary cannot hold. Printable characters: a pattern
    would need Unicode's categories, which few validators know.
    """
    if type(failure).__name__ != "RejectedPositiveData" or response.status_code != 422:
        return True
    faults = {(fault["field"], fault["message"]) for fault in response.json()["errors"]}
    too_fine = "must have at most 9 digits after the point"
    return not faults <= {
        ("quantity", too_fine),
        ("monthlyLimit", too_fine),
        ("unitPrice", too_fine),
        ("unitName", "must consist of printable characters"),
    }
