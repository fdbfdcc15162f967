"""Messages of validation errors: which field is wrong, and what is allowed there. Pure.

Pydantic's own messages speak of Python types and regular expressions, which mean nothing to callers. So the tables here
have a message for each type of error that our requests can have, and for each pattern.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel
from pydantic.alias_generators import to_camel

from usage_billing.kernel.errors import FieldCode, FieldError, ValidationFailed
from usage_billing.kernel.fields import INSTANT_RULE, BrokenRule
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
"""Maximum characters of a caller's text that a response repeats."""

MAX_COMPARED = 40
"""Maximum length of an unknown name to look for a similar known name. No known name is nearly as long."""

PATTERNS = {
    IDENTIFIER_PATTERN: IDENTIFIER_RULE,
    EVENT_ID_CHARACTERS: EVENT_ID_RULE,
    INVOICE_ID_PATTERN: INVOICE_ID_RULE,
    CURRENCY_PATTERN: CURRENCY_RULE,
    RECORDED_EVENT_ID_PATTERN: RECORDED_EVENT_ID_RULE,
    RUN_ID_PATTERN: RUN_ID_RULE,
    CODE_PATTERN: CODE_RULE,
}
"""The message for each pattern."""

MESSAGES = {
    "missing": "is required",
    "string_type": "must be a string",
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
"""The message for each type of pydantic's errors. The names in braces are pydantic's for the limits."""

FALLBACK_MESSAGE = "has a value that is not allowed"
"""The message for an error that is not in the tables. A test checks that our requests have no such error."""

ErrorT = TypeVar("ErrorT")

_EMPTY = {"string_too_short", "too_short"}


def field_names(body: Any) -> list[str]:
    """Return the JSON names of the fields of a body: a model, or an optional one."""
    models = [each for each in (body, *get_args(body)) if isinstance(each, type) and issubclass(each, BaseModel)]
    return [field.alias or name for model in models for name, field in model.model_fields.items()]


def validation_failed(errors: Sequence[Mapping[str, Any]], known: Iterable[str] = ()) -> ValidationFailed:
    """Return the error for a request in which pydantic found `errors`, of which the first ones are reported.

    `known` are the names of the request's fields, from which a similar one is suggested for an unknown field.
    """
    fields = tuple(known)
    return _report(errors, lambda error: field_error(error, fields))


def unknown_parameters(names: Sequence[str], known: Collection[str]) -> ValidationFailed:
    """Return the error for query parameters that the endpoint does not have."""
    return _report(names, lambda name: _unknown(name, known, "is not a parameter of this endpoint"))


def field_error(error: Mapping[str, Any], known: Iterable[str] = ()) -> FieldError:
    """Return one of pydantic's errors with our message."""
    where, *location = map(str, error["loc"])
    # Path parameters have Python names in the routes. All other names are the caller's.
    field = ".".join(map(to_camel, location) if where == "path" else location) or where
    if error["type"] == "extra_forbidden":
        return _unknown(field, known, "is not a field of this request")
    return FieldError(safe_excerpt(field), _code(error), safe_excerpt(_message(error)))


def _unknown(name: str, known: Iterable[str], message: str) -> FieldError:
    """Return the error for a field or parameter that does not exist, with a similar one if there is one."""
    suggestion = _most_similar(name, known)
    if suggestion:
        message += f"; did you mean {suggestion}?"
    return FieldError(safe_excerpt(name), "unknown", message)


def _report(errors: Sequence[ErrorT], explain: Callable[[ErrorT], FieldError]) -> ValidationFailed:
    reported = [explain(error) for error in errors[:MAX_FIELD_ERRORS]]
    if rest := len(errors) - len(reported):
        reported.append(FieldError(reported[0].field, "more", f"and {rest} more error{'s' if rest > 1 else ''}"))
    return ValidationFailed(*reported)


def safe_excerpt(text: str) -> str:
    """Return the start of a caller's text in ASCII, so that a response can repeat it."""
    return text[:MAX_QUOTED].encode("ascii", "backslashreplace").decode()


def _code(error: Mapping[str, Any]) -> FieldCode:
    if error["type"] == "missing":
        return "missing"
    broken = error.get("ctx", {}).get("error")
    return broken.code if isinstance(broken, BrokenRule) else "invalid"


def _message(error: Mapping[str, Any]) -> str:
    kind, limits = str(error["type"]), error.get("ctx", {})
    if kind == "value_error":  # raised by one of our own validators
        return str(limits.get("error") or FALLBACK_MESSAGE)
    if kind == "string_pattern_mismatch":
        return PATTERNS.get(limits.get("pattern"), FALLBACK_MESSAGE)
    if kind in ("enum", "literal_error"):
        return f"must be {limits['expected']}".replace("'", "") if "expected" in limits else FALLBACK_MESSAGE
    if kind in _EMPTY and limits.get("min_length") == 1:
        return "must not be empty"
    try:
        return MESSAGES.get(kind, FALLBACK_MESSAGE).format_map(limits)
    except KeyError:
        return FALLBACK_MESSAGE


def _most_similar(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that `name` resembles: with another case, other separators or a typing error."""
    if len(name) > MAX_COMPARED:
        return None
    from difflib import get_close_matches  # noqa: PLC0415 - only needed for a typing error

    by_letters = {_letters(each): each for each in known}
    matches = get_close_matches(_letters(name), by_letters, n=1, cutoff=0.75)
    return by_letters[matches[0]] if matches else None


def _letters(name: str) -> str:
    return re.sub(r"[_-]", "", name).lower()
