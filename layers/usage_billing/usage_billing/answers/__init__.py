"""What the API answers: the JSON shapes, and how they are made from domain values.

A module a topic: a function that starts builds the models of its own answers only.
"""

from typing import Annotated

from pydantic import Field, WithJsonSchema

from usage_billing.kernel.fields import Strict


class Page(Strict):
    """A part of a list. `nextCursor` is there if, and only if, there may be more."""

    next_cursor: Annotated[
        str | None, Field(exclude_if=lambda cursor: cursor is None), WithJsonSchema({"type": "string"})
    ] = None
