"""Base models of request bodies and of list pages."""

from typing import Annotated

from pydantic import ConfigDict, Field, WithJsonSchema

from usage_billing.kernel.errors import FieldError, ValidationFailed
from usage_billing.kernel.fields import Strict


class Request(Strict):
    """A request body. Its fields are set by their JSON names only."""

    model_config = ConfigDict(validate_by_name=False)


def require_same(field: str, in_body: str | None, in_path: str) -> None:
    """Raise ValidationFailed if the body repeats a value of the path, and the two differ."""
    if in_body not in (None, in_path):
        raise ValidationFailed(FieldError(field, "contradiction", "must be the same as in the path"))


class Page(Strict):
    """A page of a list. It has `nextCursor` if and only if there may be more."""

    next_cursor: Annotated[
        str | None, Field(exclude_if=lambda cursor: cursor is None), WithJsonSchema({"type": "string"})
    ] = None
