"""What the bodies of all requests and the pages of all lists have in common."""

from typing import Annotated

from pydantic import ConfigDict, Field, WithJsonSchema

from usage_billing.kernel.errors import FieldError, ValidationFailed
from usage_billing.kernel.fields import Strict


class Request(Strict):
    """A body: its fields have their JSON names only."""

    model_config = ConfigDict(validate_by_name=False)


def require_same(field: str, in_body: str | None, in_path: str) -> None:
    if in_body not in (None, in_path):
        raise ValidationFailed(FieldError(field, "contradiction", "must be the same as in the path"))


class Page(Strict):
    """A part of a list. `nextCursor` is there if, and only if, there may be more."""

    next_cursor: Annotated[
        str | None, Field(exclude_if=lambda cursor: cursor is None), WithJsonSchema({"type": "string"})
    ] = None
