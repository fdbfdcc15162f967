"""Opaque cursors of lists. A caller sends back `nextCursor` as it is and does not need to know its contents."""

import base64

from usage_billing.kernel.errors import FieldError, ValidationFailed
from usage_billing.kernel.exact_json import dumps, loads


def encode(*position: str | int) -> str:
    return base64.urlsafe_b64encode(dumps(position).encode()).decode().rstrip("=")


def decode(cursor: str, *types: type[str] | type[int]) -> list[str | int]:
    """Return the position that `cursor` was made from.

    Raises:
        ValidationFailed: it was not made by `encode` from values of these types.
    """
    try:
        position = loads(base64.urlsafe_b64decode(cursor.encode("ascii") + b"=="))
        if not isinstance(position, list) or [type(part) for part in position] != list(types):
            raise ValueError("from another list")
        if encode(*position) != cursor or any(isinstance(part, int) and part < 0 for part in position):
            raise ValueError("not made by encode")
    except (ValueError, RecursionError):
        raise invalid_cursor() from None
    return position


def start_after(cursor: str | None, *scope: str) -> str | None:
    """Return the key after which a list continues; None without a cursor, or with an empty one: the list
    starts at its beginning.

    The cursor was made by `encode(*scope, key)`.

    Raises:
        ValidationFailed: the cursor belongs to another list, or to the same list with another scope.
    """
    if not cursor:
        return None
    *cursor_scope, key = decode(cursor, *(str for _ in scope), str)
    if tuple(cursor_scope) != scope:
        raise invalid_cursor()
    return str(key)


def invalid_cursor() -> ValidationFailed:
    """Return the error for a cursor that does not belong to this list."""
    return ValidationFailed(FieldError("cursor", "invalid", "must be the nextCursor of the previous page"))
