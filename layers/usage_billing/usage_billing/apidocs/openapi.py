"""The API reference: one OpenAPI 3.1 document of all handlers, generated from their types and contracts.

Nothing about a route is repeated here: parameters, bodies and responses come from its types, errors from its contract
and `web.problems.STATUS`, and the summary from the first line of its file.
"""

import importlib
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from aws_lambda_powertools.event_handler.api_gateway import Route
from pydantic.alias_generators import to_camel

from usage_billing.access.callers import PUBLIC, Role, Scope
from usage_billing.apidocs.examples import BODIES, DETAILS, IDS, PARAMETERS
from usage_billing.kernel import errors
from usage_billing.kernel.errors import BillingError, InternalError
from usage_billing.kernel.product_version import NAME, VERSION
from usage_billing.web.bodies import JSON
from usage_billing.web.problems import PROBLEM_JSON, STATUS, Problem
from usage_billing.web.resolver import Api, Contract

DESCRIPTION = """
Services report usage events. Each event is counted once, in the ledger of its subscription, usage type and billing
period, and compared with the plan's quota. Billing charges overage.

Instants are ISO 8601 in UTC. Periods include their start and exclude their end. Money is text with a currency, and
quantities are exact JSON numbers. An unknown field or parameter in a request is an error, but responses may gain
fields. Every error is `application/problem+json` with a stable `code`, except those of API Gateway itself, which are
`application/json` with a `message`.

After a 429, 500 or 503, or without a response, send the same request again. An event with the same `eventId` is counted
once.
""".strip()

TAGS = {
    "Usage": "Report usage, and read it",
    "Invoices": "Read what has been charged",
    "Dead events": "List, redrive and drop accepted events that could not be recorded",
    "Billing": "Run billing, and read the reports of its runs",
    "Quotas": "Define the units that a plan includes, and the price of overage; list plans",
    "Subscriptions": "Define the user, plan, status and anchor day of a subscription",
    "Description": "Read this API reference",
}

_TAG_BY_PREFIX = {
    "/api/usage/quotas": "Quotas",
    "/api/plans": "Quotas",
    "/api/usage/dead-events": "Dead events",
    "/api/usage/process-billing": "Billing",
    "/api/billing": "Billing",
    "/api/usage": "Usage",
    "/api/subscriptions": "Subscriptions",
    "/api/invoices": "Invoices",
    "": "Description",
}

SECURITY_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A token. Its `sub` is the user, and its `role` is `user` (the default), `admin` or `internal`.",
    },
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "x-api-key",
        "description": "An API key. Its role is `internal`, restricted to its scope: `read`, `record` or `operate`.",
    },
}

_GATEWAY_MESSAGE = {
    "type": "object",
    "description": "An error of API Gateway itself.",
    "properties": {"message": {"type": "string"}},
    "required": ["message"],
}

_HEADERS: Mapping[int, dict[str, Any]] = {
    401: {
        "WWW-Authenticate": {
            "description": "How to authenticate",
            "required": True,
            "schema": {"type": "string", "pattern": "^Bearer "},
        }
    },
    415: {
        "Accept-Encoding": {
            "description": "The content encodings that a request may have",
            "required": True,
            "schema": {"const": "identity"},
        }
    },
    503: {
        "Retry-After": {
            "description": "Seconds to wait before sending the same request again; missing in API Gateway's own errors",
            "schema": {"type": "integer", "minimum": 1},
        }
    },
}

_SCHEMAS = "#/components/schemas/"
_PROBLEM = {"$ref": f"{_SCHEMAS}Problem"}
_MESSAGE = {"$ref": f"{_SCHEMAS}GatewayMessage"}

_GATEWAY_STATUSES = {429: "Too many requests; wait, then send the same request again", 500: None, 503: None, 413: None}
"""Statuses of API Gateway itself: above the stage's rate, if a function fails or times out, and above 10 MB."""

_CREDENTIALS = (
    errors.CredentialsMissing,
    errors.CredentialsInvalid,
    errors.CredentialsExpired,
    errors.Forbidden,
    errors.IdentityProviderUnavailable,
    errors.DatabaseUnavailable,
)
_BODY = (errors.NotJson, errors.BodyTooLarge, errors.UnsupportedMediaType)


@cache
def routes() -> tuple[tuple[Api, Route], ...]:
    """Return all routes, sorted by path and method. Imports all handlers."""
    found = [(app, route) for app in _apis() for route in app._static_routes + app._dynamic_routes]
    return tuple(sorted(found, key=lambda each: (_sort_key(each[1].openapi_path), each[1].method)))


def methods(path: str) -> list[str]:
    """Return the methods of a path; none if there is no such path."""
    return sorted({route.method for _, route in routes() if route.rule.match(path)})


@cache
def document() -> dict[str, Any]:
    """Return the OpenAPI document.

    Raises:
        ValueError: two different models have the same name, or two routes the same operation id.
    """
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    schemas: dict[str, Any] = {"GatewayMessage": _GATEWAY_MESSAGE, "Problem": _without_titles(_problem_schema())}
    schemas["FieldProblem"] = schemas["Problem"].pop("$defs")["FieldProblem"]
    operations: set[str] = set()
    for app, route in routes():
        generated = _schema_of(app)
        path = _camel_path(route.openapi_path)
        operation = _operation(app, route, generated["paths"][route.openapi_path][route.method.lower()])
        if operation["operationId"] in operations:  # a generated client would have only one method for both
            raise ValueError(f"duplicate operation id {operation['operationId']}")
        operations.add(operation["operationId"])
        paths[path][route.method.lower()] = operation
        for name, schema in _referred(operation, generated["components"]["schemas"]):
            if schemas.setdefault(name, schema) != schema:
                raise ValueError(f"duplicate model name {name}")
    _allow_more_fields_in_responses(schemas, paths)
    for schema in schemas.values():
        for name, field in schema.get("properties", {}).items():
            if name in IDS:
                field["examples"] = [IDS[name]]
    return {
        "openapi": "3.1.0",
        "info": {"title": NAME, "version": VERSION, "description": DESCRIPTION},
        # Relative to the URL of this document, so that it is right for every stage and domain.
        "servers": [{"url": "."}],
        "tags": [{"name": name, "description": description} for name, description in TAGS.items()],
        "paths": dict(paths),
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "examples": {error.code: _problem_example(error) for error in STATUS},
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


def _allow_more_fields_in_responses(schemas: dict[str, Any], paths: Mapping[str, Mapping[str, Any]]) -> None:
    """Let responses gain fields without breaking existing generated clients. Requests stay strict."""
    bodies = [operation.get("requestBody") for methods in paths.values() for operation in methods.values()]
    in_requests = {name for name, _ in _referred(bodies, schemas)}
    for name, schema in schemas.items():
        if name not in in_requests and schema.get("additionalProperties") is False:
            del schema["additionalProperties"]


def _problem_example(error: type[BillingError]) -> dict[str, Any]:
    status = STATUS[error]
    value: dict[str, Any] = {"type": "about:blank", "title": status.phrase, "status": status.value, "code": error.code}
    value["detail"] = DETAILS[error.code]
    if error is errors.ValidationFailed:
        field, _, message = DETAILS[error.code].partition(": ")
        value["errors"] = [{"field": field, "code": "invalid", "message": message}]
    return {"value": value}


def _apis() -> Iterator[Api]:
    """Yield the resolver of each handler that has one. All handlers are in the folder of the one that runs."""
    folder = Path(str(importlib.import_module("get_openapi").__file__)).parent
    for file in sorted(folder.glob("*.py")):
        app = getattr(importlib.import_module(file.stem), "app", None)
        if isinstance(app, Api):
            yield app


def _schema_of(app: Api) -> dict[str, Any]:
    schema: dict[str, Any] = app.get_openapi_schema().model_dump(by_alias=True, exclude_none=True, mode="json")
    return {
        "paths": _without_titles(schema["paths"]),
        "components": {"schemas": _without_titles(schema["components"]["schemas"])},
    }


def _operation(app: Api, route: Route, generated: dict[str, Any]) -> dict[str, Any]:
    contract = app.contract(route.func)
    assert contract is not None
    responses = {status: response for status, response in generated["responses"].items() if status != "422"}
    operation = {
        "operationId": generated["operationId"],
        "summary": _summary(route),
        "tags": [next(tag for start, tag in _TAG_BY_PREFIX.items() if route.openapi_path.startswith(start))],
        "description": _allowed_callers(contract),
        "security": _security(contract),
        "parameters": [_parameter(each) for each in generated.get("parameters", [])],
        "requestBody": generated.get("requestBody"),
        "responses": dict(
            sorted((responses | _error_responses(route, contract, has_body="requestBody" in generated)).items())
        ),
    }
    for content in _contents(operation):
        example = BODIES.get(next(_references(content["schema"]), ""))  # of the first model
        if example is not None:
            content["example"] = example
    return {name: value for name, value in operation.items() if value not in (None, [])} | {
        "security": operation["security"]
    }


def _contents(operation: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for holder in [operation["requestBody"] or {}, *operation["responses"].values()]:
        yield from holder.get("content", {}).values()


def _summary(route: Route) -> str:
    """Return the first sentence of the handler's file, without method and path."""
    text = " ".join(str(sys.modules[route.func.__module__].__doc__).split("\n\n")[0].split())
    text = text.partition(": ")[2].rstrip(".")
    return text[:1].upper() + text[1:]


def _allowed_callers(contract: Contract) -> str:
    if contract.allow is PUBLIC:
        return "Public: no credentials are needed."
    scopes = [scope for scope in Scope if scope.includes(contract.scope)]
    keys = f" API keys need the scope {_alternatives(scopes)}." if Role.INTERNAL in contract.allow else ""
    if Role.USER in contract.allow and contract.scope is Scope.RECORD:
        return (
            "For the roles admin and internal. If the deployment's parameter CustomersMayRecord is true, also for "
            f"users, limited to their own subscriptions and the usage types of their plans.{keys}"
        )
    if Role.USER in contract.allow:
        return f"For users, who have access to their own data, and for the roles admin and internal.{keys}"
    return f"For the role{'s' * (len(contract.allow) > 1)} {' and '.join(sorted(contract.allow))}.{keys}"


def _alternatives(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def _security(contract: Contract) -> list[dict[str, list[str]]]:
    if contract.allow is PUBLIC:
        return []
    with_key = Role.INTERNAL in contract.allow
    return [{"bearer": []}, {"apiKey": []}] if with_key else [{"bearer": []}]


def _parameter(generated: dict[str, Any]) -> dict[str, Any]:
    name = {"path": to_camel(generated["name"]), "header": generated["name"].title()}.get(
        generated["in"], generated["name"]
    )
    schema = dict(generated["schema"])
    # An optional parameter is left out: a URL or a header cannot contain null.
    options = [each for each in schema.get("anyOf", []) if each != {"type": "null"}]
    if len(options) == 1:
        schema = {key: value for key, value in schema.items() if key != "anyOf"} | options[0]
    if schema.get("type") == "string" and not isinstance(schema.get("default", ""), str):
        del schema["default"]
    parameter = generated | {"name": name, "schema": schema}
    return parameter | {"example": PARAMETERS[name]} if name in PARAMETERS else parameter


def _error_responses(route: Route, contract: Contract, *, has_body: bool) -> dict[str, Any]:
    """Return the error responses of a route by status."""
    codes: dict[int, set[str]] = defaultdict(set)
    for error in _errors_of(route, contract, has_body=has_body):
        codes[STATUS[error].value].add(error.code)
    codes[500].add(InternalError.code)
    found = {}
    for status in codes.keys() | {429}:
        content: dict[str, Any] = {}
        # The codes are listed as named examples. A schema per list of codes would add a class to a generated client
        # for every status of every operation, and many generators cannot merge such schemas at all.
        if status in codes:
            examples = {code: {"$ref": f"#/components/examples/{code}"} for code in sorted(codes[status])}
            content[PROBLEM_JSON] = {"schema": _PROBLEM, "examples": examples}
        if status in _GATEWAY_STATUSES:
            content[JSON] = {"schema": _MESSAGE}
        if len(content) == 2:
            # Generated clients use the first schema of a status, whatever the content type of the response.
            for each in content.values():
                each["schema"] = {"anyOf": [_PROBLEM, _MESSAGE]}
        description = _GATEWAY_STATUSES.get(status) or ", ".join(f"`{code}`" for code in sorted(codes[status]))
        found[str(status)] = {"description": description, "content": content}
        if status in _HEADERS:
            found[str(status)]["headers"] = _HEADERS[status]
    return found


def _errors_of(route: Route, contract: Contract, *, has_body: bool) -> Iterator[type[BillingError]]:
    yield errors.ValidationFailed  # at least for an unknown query parameter
    if "{" in route.openapi_path:
        yield errors.RouteNotFound  # a part of the path may not be a valid id
    yield from contract.raises
    if contract.allow is not PUBLIC:
        yield from _CREDENTIALS
    if has_body:
        yield from _BODY


def _problem_schema() -> dict[str, Any]:
    return Problem.model_json_schema(ref_template=f"{_SCHEMAS}{{model}}", mode="serialization")


def _referred(value: object, schemas: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the schemas that `value` refers to, directly or through other schemas."""
    unvisited, seen = list(_references(value)), {"Problem", "FieldProblem", "GatewayMessage"}
    while unvisited:
        name = unvisited.pop()
        if name not in seen:
            seen.add(name)
            yield name, schemas[name]
            unvisited += _references(schemas[name])


def _references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        reference = value.get("$ref")
        if isinstance(reference, str) and reference.startswith(_SCHEMAS):
            yield reference.removeprefix(_SCHEMAS)
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _references(each)


def _without_titles(value: Any, *, names: bool = False) -> Any:
    """Remove the titles that pydantic derives from names. With `names`, the keys are field names, not keywords."""
    if isinstance(value, dict):
        return {
            key: _without_titles(each, names=key in ("properties", "$defs") and not names)
            for key, each in value.items()
            if names or key != "title" or not isinstance(each, str)
        }
    return [_without_titles(each) for each in value] if isinstance(value, list) else value


def _camel_path(path: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: f"{{{to_camel(match[1])}}}", path)


def _sort_key(path: str) -> tuple[int, bool, str]:
    """Return a sort key: by tag, then by path, with the endpoint that everybody starts with first."""
    tag = next(tag for start, tag in _TAG_BY_PREFIX.items() if path.startswith(start))
    return list(TAGS).index(tag), path != "/api/usage/record", path
