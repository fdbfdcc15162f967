"""The reason for which a type refuses a value."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError


def refusal(adapter: TypeAdapter[Any], value: object) -> str:
    """Assert that a type refuses `value` for exactly one reason, and return the reason."""
    with pytest.raises(ValidationError) as refused:
        adapter.validate_python(value)
    [error] = refused.value.errors()
    return str(error["msg"]).removeprefix("Value error, ")
