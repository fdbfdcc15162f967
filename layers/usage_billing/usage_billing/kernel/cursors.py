"""Opaque cursors: where a list goes on. A caller sends back what `nextCursor` said, and need not know what it says."""

import base64

from usage_billing.kernel.errors import FieldError, ValidationFailed
from usage_billing.kernel.exact_json import dumps, loads


def encode(*position: str | int) -> str:
    return base64.urlsafe_b64encode(dumps(position).encode()).decode().rstrip("=")


def decode(cursor: str, *shape: type[str] | type[int]) -> list[str | int]:
    """The position that `cursor` was made from.

    Raises:
        ValidationFailed: it was not made by `encode` from values of these types.
    """
    try:
        position = loads(base64.urlsafe_b64decode(cursor.encode("ascii") + b"=="))
        if not isinstance(position, list) or [type(part) for part in position] != list(shape):
            raise ValueError("another list's")
        if encode(*position) != cursor or any(isinstance(part, int) and part < 0 for part in position):
            raise ValueError("not made by encode")
    except (ValueError, RecursionError):
        raise invalid_cursor() from None
    return position


def behind(cursor: str | None, *scope: str) -> str | None:
    """Where a list of one kind of text goes on, from a cursor made of its `scope` and that text; None at its start.

    Raises:
        ValidationFailed: the cursor is another list's, or of the same list with another scope.
    """
    if cursor is None:
        return None
    *of_scope, position = decode(cursor, *(str for _ in scope), str)
    if tuple(of_scope) != scope:
        raise invalid_cursor()
    return str(position)


def invalid_cursor() -> ValidationFailed:
    """What is wrong with a cursor that is not this list's."""
    return ValidationFailed(FieldError("cursor", "invalid", "must be the nextCursor of the previous page"))
