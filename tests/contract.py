"""Whether an answer is one that the API's description promises. Every request of the tests is looked at."""

import json
import re
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from usage_billing.openapi import document


def check(method: str, path: str, status: int, headers: dict[str, str], text: str) -> None:
    """Raises AssertionError if the description does not say that this may be answered."""
    operation = _operation(method, path)
    if operation is None:
        return
    where = f"{method} {path} answered {status}: {text[:500]}"
    assert str(status) in operation["responses"], f"{where}, which is not declared"
    promised = operation["responses"][str(status)]
    content_type = headers["Content-Type"]
    assert content_type in promised["content"], f"{where}, not as {content_type}"
    for name, header in promised.get("headers", {}).items():
        assert name in headers or not header.get("required"), f"{where}, without {name}"
    if "json" in content_type:
        faults = list(validator(promised["content"][content_type]["schema"]).iter_errors(json.loads(text)))
        assert not faults, f"{where}: {faults[0].message} at {faults[0].json_path}"


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    """For a schema that may refer to the description's components."""
    return Draft202012Validator(schema | {"components": document()["components"]})


def _operation(method: str, path: str) -> Any:
    found = [
        operations[method.lower()]
        for pattern, operations in _literal_first()
        if re.fullmatch(path_pattern(pattern), path) and method.lower() in operations
    ]
    return found[0] if found else None


def path_pattern(path: str) -> str:
    """The regular expression of a route's path. An event id reaches to the end and may hold `/`."""
    return re.sub(r"\{(\w+)\}", lambda name: f"(?P<{name[1]}>{'.+' if name[1] == 'eventId' else '[^/]+'})", path)


@cache
def _literal_first() -> list[tuple[str, Any]]:
    return sorted(document()["paths"].items(), key=lambda each: each[0].count("{"))
