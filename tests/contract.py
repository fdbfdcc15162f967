"""Checks that a response is one that the OpenAPI document declares. Every request of `tests.api` goes through it."""

import json
import re
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from usage_billing.apidocs.openapi import document
from usage_billing.web.problems import PROBLEM_JSON

PROBLEM = {"$ref": "#/components/schemas/Problem"}


def check(method: str, path: str, status: int, headers: dict[str, str], text: str) -> None:
    """Raise AssertionError unless the OpenAPI document declares this response."""
    operation = _operation(method, path)
    if operation is None:
        return
    where = f"{method} {path} answered {status}: {text[:500]}"
    assert str(status) in operation["responses"], f"{where}, which is not declared"
    declared = operation["responses"][str(status)]
    content_type = headers["Content-Type"]
    assert content_type in declared["content"], f"{where}, not as {content_type}"
    for name, header in declared.get("headers", {}).items():
        assert name in headers or not header.get("required"), f"{where}, without {name}"
    if "json" not in content_type:
        return
    body, content = json.loads(text), declared["content"][content_type]
    schema = PROBLEM if content_type == PROBLEM_JSON else content["schema"]
    errors = list(_closed_validator(schema).iter_errors(body))
    assert not errors, f"{where}: {errors[0].message} at {errors[0].json_path}"
    if content_type == PROBLEM_JSON:
        assert body["status"] == status, where
        assert body["code"] in content["examples"], f"{where}, whose code is not declared"


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    """A validator of a schema that may refer to the components of the OpenAPI document."""
    return Draft202012Validator(schema | {"components": document()["components"]})


def _closed_validator(schema: dict[str, Any]) -> Draft202012Validator:
    """The same, but undeclared fields are errors: callers must tolerate new fields, the service must declare them."""
    return Draft202012Validator(closed(schema | {"components": {"schemas": document()["components"]["schemas"]}}))


def closed(schema: Any) -> Any:
    """The same schema, in which objects that declare properties may have no others."""
    if isinstance(schema, dict):
        inner = {name: closed(value) for name, value in schema.items()}
        return {"additionalProperties": False} | inner if isinstance(schema.get("properties"), dict) else inner
    return [closed(each) for each in schema] if isinstance(schema, list) else schema


def _operation(method: str, path: str) -> Any:
    found = [
        operations[method.lower()]
        for pattern, operations in _literal_first()
        if re.fullmatch(path_pattern(pattern), path) and method.lower() in operations
    ]
    return found[0] if found else None


def path_pattern(path: str) -> str:
    """The regular expression of a route's path. An event id may contain `/` and extends to the end of the path."""
    return re.sub(r"\{(\w+)\}", lambda name: f"(?P<{name[1]}>{'.+' if name[1] == 'eventId' else '[^/]+'})", path)


@cache
def _literal_first() -> list[tuple[str, Any]]:
    return sorted(document()["paths"].items(), key=lambda each: each[0].count("{"))
