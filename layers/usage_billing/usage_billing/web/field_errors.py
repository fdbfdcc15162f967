"""Validation errors in our own words: which field, and what is allowed there. Pure.

Pydantic reports what its validators found, in terms of Python and of regular expressions. Callers get neither: each
type of error that our requests can have stands in a table here, and so does each pattern.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel
from pydantic.alias_generators import to_camel

from usage_billing.kernel.errors import FieldCode, FieldError, ValidationFailed
from usage_billing.kernel.fields import INSTANT_RULE
from usage_billing.kernel.identifiers import (
    CODE_PATTERN,
    CODE_RULE,
    EVENT_ID_CHARACTERS,
    EVENT_ID_RULE,
    IDENTIFIER_PATTERN,
    IDENTIFIER_RULE,
    INVOICE_ID_PATTERN,
    INVOICE_ID_RULE,
    RECORDED_EVENT_ID_PATTERN,
    RECORDED_EVENT_ID_RULE,
    RUN_ID_PATTERN,
    RUN_ID_RULE,
)
from usage_billing.kernel.money import CURRENCY_PATTERN, CURRENCY_RULE

MAX_FIELD_ERRORS = 20
"""Maximum validation errors reported per request."""

MAX_QUOTED = 200
"""Characters of a caller's text that are quoted back."""

MAX_MISTYPED = 40
"""Characters of an unknown name that is compared with the known ones: no known one is nearly as long."""

PATTERNS = {
    IDENTIFIER_PATTERN: IDENTIFIER_RULE,
    EVENT_ID_CHARACTERS: EVENT_ID_RULE,
    INVOICE_ID_PATTERN: INVOICE_ID_RULE,
    CURRENCY_PATTERN: CURRENCY_RULE,
    RECORDED_EVENT_ID_PATTERN: RECORDED_EVENT_ID_RULE,
    RUN_ID_PATTERN: RUN_ID_RULE,
    CODE_PATTERN: CODE_RULE,
}
"""What a pattern allows, in words."""

MESSAGES = {
    "missing": "is required",
    "string_type": "must be text",
    "string_unicode": "must be valid Unicode text",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "dict_type": "must be a JSON object",
    "model_type": "must be a JSON object",
    "model_attributes_type": "must be a JSON object",
    "list_type": "must be a list",
    "too_short": "must have at least {min_length} items",
    "too_long": "must have at most {max_length} items",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number",
    "int_from_float": "must be a whole number",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "datetime_type": INSTANT_RULE,
    "datetime_parsing": INSTANT_RULE,
    "datetime_from_date_parsing": INSTANT_RULE,
    "timezone_aware": INSTANT_RULE,
}
"""By pydantic's name for an error. Braces hold what pydantic says of the limit."""

UNCLEAR = "has a value that is not allowed"
"""For an error that the table does not know. A test keeps our requests from having one."""

FaultT = TypeVar("FaultT")

_EMPTY = {"string_too_short", "too_short"}


def field_names(body: Any) -> list[str]:
    """The names in JSON of the fields of a body: a model, or an optional one."""
    models = [each for each in (body, *get_args(body)) if isinstance(each, type) and issubclass(each, BaseModel)]
    return [field.alias or name for model in models for name, field in model.model_fields.items()]


def invalid(faults: Sequence[Mapping[str, Any]], known: Iterable[str] = ()) -> ValidationFailed:
    """What pydantic found wrong with a request, the first errors where there are many.

    `known` are the names of the request's fields: an unknown field is told the nearest of them.
    """
    fields = tuple(known)
    return _report(faults, lambda fault: field_error(fault, fields))


def unknown_parameters(names: Sequence[str], known: Collection[str]) -> ValidationFailed:
    """Query parameters that the endpoint does not have."""
    return _report(names, lambda name: _unknown(name, known, "is not a parameter of this endpoint"))


def field_error(fault: Mapping[str, Any], known: Iterable[str] = ()) -> FieldError:
    """One of pydantic's errors in our words."""
    where, *location = map(str, fault["loc"])
    # A path's parameters have Python names in the routes; everything else is named as the caller named it.
    field = ".".join(map(to_camel, location) if where == "path" else location) or where
    if fault["type"] == "extra_forbidden":
        return _unknown(field, known, "is not a field of this request")
    code: FieldCode = "missing" if fault["type"] == "missing" else "invalid"
    return FieldError(legible(field), code, legible(_message(fault)))


def _unknown(name: str, known: Iterable[str], message: str) -> FieldError:
    """The error for a field or parameter that does not exist, with the one that was probably meant."""
    meant = _nearest(name, known)
    return FieldError(legible(name), "unknown", f"{message}; did you mean {meant}?" if meant else message)


def _report(faults: Sequence[FaultT], explain: Callable[[FaultT], FieldError]) -> ValidationFailed:
    told = [explain(fault) for fault in faults[:MAX_FIELD_ERRORS]]
    if rest := len(faults) - len(told):
        told.append(FieldError(told[0].field, "more", f"and {rest} more error{'s' if rest > 1 else ''}"))
    return ValidationFailed(*told)


def legible(text: str) -> str:
    """`text` short enough and clean enough to be quoted back."""
    return text[:MAX_QUOTED].encode("ascii", "backslashreplace").decode()


def _message(fault: Mapping[str, Any]) -> str:
    kind, limits = str(fault["type"]), fault.get("ctx", {})
    if kind == "value_error":  # raised by a validator of ours
        return str(limits.get("error") or UNCLEAR)
    if kind == "string_pattern_mismatch":
        return PATTERNS.get(limits.get("pattern"), UNCLEAR)
    if kind in ("enum", "literal_error"):
        return f"must be {limits['expected']}".replace("'", "") if "expected" in limits else UNCLEAR
    if kind in _EMPTY and limits.get("min_length") == 1:
        return "must not be empty"
    try:
        return MESSAGES.get(kind, UNCLEAR).format_map(limits)
    except KeyError:
        return UNCLEAR


def _nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` is probably meant to be: another case, other separators, a slip of the finger."""
    if len(name) > MAX_MISTYPED:
        return None
    from difflib import get_close_matches  # noqa: PLC0415 - only where somebody mistyped

    alike = {_bare(each): each for each in known}
    found = get_close_matches(_bare(name), alike, n=1, cutoff=0.75)
    return alike[found[0]] if found else None


def _bare(name: str) -> str:
    return re.sub(r"[_-]", "", name).lower()
