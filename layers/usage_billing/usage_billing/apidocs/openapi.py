"""The API's own description: one OpenAPI 3.1 document of all handlers, made from their types and contracts.

Nothing about a route is typed a second time here: parameters, bodies and answers are its types, errors are its
contract and `http.STATUS`, and its summary is the first line of its file.
"""

import importlib
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from aws_lambda_powertools.event_handler.api_gateway import Route
from pydantic.alias_generators import to_camel

from usage_billing.access.callers import PUBLIC, Role, Scope
from usage_billing.apidocs.examples import BODIES, DETAILS, IDS, PARAMETERS
from usage_billing.kernel import errors
from usage_billing.kernel.errors import BillingError, InternalError
from usage_billing.kernel.product import NAME, VERSION
from usage_billing.web.bodies import JSON
from usage_billing.web.problems import PROBLEM_JSON, STATUS, Problem
from usage_billing.web.resolver import Api, Contract

DESCRIPTION = """
Services report usage events; each is counted, once, in the ledger of its subscription, usage type and billing period,
and held against the plan's quota. Billing charges overage.

Instants are ISO 8601 in UTC, periods are half-open. Money is text with a currency, quantities are exact JSON numbers.
An unknown field or parameter in a request is an error; answers may gain fields. Every error is
`application/problem+json` with a stable `code`; what API Gateway answers by itself is `application/json` with a
`message`.

A request that got 429, 500 or 503, or no answer, can be sent again as it was: with the same `eventId` an event is
counted once.
""".strip()

TAGS = {
    "Usage": "Report usage and read it back",
    "Invoices": "What usage costs",
    "Dead events": "Accepted events that could not be recorded: look, send back, remove",
    "Billing": "Runs that settle ledgers and write invoice items, and what they did",
    "Quotas": "What a plan includes, and the price of each unit beyond",
    "Subscriptions": "Whose they are, on which plan, and when their periods turn",
    "Description": "This description; open to everybody",
}

_TAG_OF = {
    "/api/usage/quotas": "Quotas",
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
        "description": "A token of the identity provider. Its `sub` is the user, its `role` user, admin or internal.",
    },
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "x-api-key",
        "description": "An API key, for services. Its role is internal, narrowed to its scope: read, record, operate.",
    },
}

_GATEWAY_MESSAGE = {
    "type": "object",
    "description": "What API Gateway answers by itself.",
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
            "description": "What a body may be encoded in",
            "required": True,
            "schema": {"const": "identity"},
        }
    },
    503: {
        "Retry-After": {
            "description": "Seconds to wait before the same request is sent again; not there if API Gateway gave up",
            "schema": {"type": "integer", "minimum": 1},
        }
    },
}

_SCHEMAS = "#/components/schemas/"
_PROBLEM = {"$ref": f"{_SCHEMAS}Problem"}
_MESSAGE = {"$ref": f"{_SCHEMAS}GatewayMessage"}

_BY_GATEWAY = {429: "Too many requests at a time; wait and send it again", 500: None, 503: None, 413: None}
"""What API Gateway may answer for us: above the stage's rate, when a function fails or takes too long, above 10 MB."""

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
    """Every route there is, by path and method. Imports all handlers."""
    found = [(app, route) for app in _apis() for route in app._static_routes + app._dynamic_routes]
    return tuple(sorted(found, key=lambda each: (_order(each[1].openapi_path), each[1].method)))


def methods(path: str) -> list[str]:
    """The methods that a path can be called with; none if it is not one of ours."""
    return sorted({route.method for _, route in routes() if route.rule.match(path)})


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document.

    Raises:
        ValueError: two different models have one name, or two routes one operation id.
    """
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    schemas: dict[str, Any] = {"GatewayMessage": _GATEWAY_MESSAGE, "Problem": _tidy(_problem_schema())}
    schemas["FieldProblem"] = schemas["Problem"].pop("$defs")["FieldProblem"]
    operations: set[str] = set()
    for app, route in routes():
        part = _part(app)
        path = _camel_path(route.openapi_path)
        operation = _operation(app, route, part["paths"][route.openapi_path][route.method.lower()])
        if operation["operationId"] in operations:  # would be one method of a generated client
            raise ValueError(f"two operations are called {operation['operationId']}")
        operations.add(operation["operationId"])
        paths[path][route.method.lower()] = operation
        for name, schema in _referred(operation, part["components"]["schemas"]):
            if schemas.setdefault(name, schema) != schema:
                raise ValueError(f"two models are called {name}")
    _open_answers(schemas, paths)
    for schema in schemas.values():
        for name, field in schema.get("properties", {}).items():
            if name in IDS:
                field["examples"] = [IDS[name]]
    return {
        "openapi": "3.1.0",
        "info": {"title": NAME, "version": VERSION, "description": DESCRIPTION},
        # Relative to where this document was read, so it is right for every stage and domain.
        "servers": [{"url": "."}],
        "tags": [{"name": name, "description": description} for name, description in TAGS.items()],
        "paths": dict(paths),
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "examples": {error.code: _problem_example(error) for error in STATUS},
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


def _open_answers(schemas: dict[str, Any], paths: Mapping[str, Mapping[str, Any]]) -> None:
    """Let answers gain fields without breaking a client that was generated before. Requests stay strict."""
    bodies = [operation.get("requestBody") for methods in paths.values() for operation in methods.values()]
    taken = {name for name, _ in _referred(bodies, schemas)}
    for name, schema in schemas.items():
        if name not in taken and schema.get("additionalProperties") is False:
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
    """The resolver of every handler that has one. All handlers lie in one folder, beside the one that runs."""
    folder = Path(str(importlib.import_module("get_openapi").__file__)).parent
    for file in sorted(folder.glob("*.py")):
        app = getattr(importlib.import_module(file.stem), "app", None)
        if isinstance(app, Api):
            yield app


def _part(app: Api) -> dict[str, Any]:
    part: dict[str, Any] = app.get_openapi_schema().model_dump(by_alias=True, exclude_none=True, mode="json")
    return {"paths": _tidy(part["paths"]), "components": {"schemas": _tidy(part["components"]["schemas"])}}


def _operation(app: Api, route: Route, made: dict[str, Any]) -> dict[str, Any]:
    contract = app.contract(route.func)
    assert contract is not None
    answers = {status: answer for status, answer in made["responses"].items() if status != "422"}
    operation = {
        "operationId": made["operationId"],
        "summary": _summary(route),
        "tags": [next(tag for start, tag in _TAG_OF.items() if route.openapi_path.startswith(start))],
        "description": _who(contract),
        "security": _security(contract),
        "parameters": [_parameter(each) for each in made.get("parameters", [])],
        "requestBody": made.get("requestBody"),
        "responses": dict(sorted((answers | _refusals(route, contract, has_body="requestBody" in made)).items())),
    }
    for content in _contents(operation):
        example = BODIES.get(next(_references(content["schema"]), ""))  # of several models, the first one's
        if example is not None:
            content["example"] = example
    return {name: value for name, value in operation.items() if value not in (None, [])} | {
        "security": operation["security"]
    }


def _contents(operation: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for holder in [operation["requestBody"] or {}, *operation["responses"].values()]:
        yield from holder.get("content", {}).values()


def _summary(route: Route) -> str:
    """What the handler's file says of itself, behind its method and path."""
    text = " ".join(str(sys.modules[route.func.__module__].__doc__).split("\n\n")[0].split())
    text = text.partition(": ")[2].rstrip(".")
    return text[:1].upper() + text[1:]


def _who(contract: Contract) -> str:
    if contract.allow is PUBLIC:
        return "For everybody; takes no credentials."
    scopes = [scope for scope in Scope if scope.includes(contract.scope)]
    keys = f" API keys need the scope {' or '.join(scopes)}." if Role.INTERNAL in contract.allow else ""
    if Role.USER in contract.allow and contract.scope is Scope.RECORD:
        return (
            "For the roles admin and internal. Where the deployment's parameter CustomersMayRecord says so, also for "
            f"users, for their own subscriptions and the usage types of their plans.{keys}"
        )
    if Role.USER in contract.allow:
        return f"For users, who reach what is theirs, and for the roles admin and internal, who reach everything.{keys}"
    return f"For the role{'s' * (len(contract.allow) > 1)} {' and '.join(sorted(contract.allow))}.{keys}"


def _security(contract: Contract) -> list[dict[str, list[str]]]:
    if contract.allow is PUBLIC:
        return []
    with_key = Role.INTERNAL in contract.allow
    return [{"bearer": []}, {"apiKey": []}] if with_key else [{"bearer": []}]


def _parameter(made: dict[str, Any]) -> dict[str, Any]:
    name = {"path": to_camel(made["name"]), "header": made["name"].title()}.get(made["in"], made["name"])
    schema = dict(made["schema"])
    # A parameter that is absent is absent; there is no null in a URL or a header.
    options = [each for each in schema.get("anyOf", []) if each != {"type": "null"}]
    if len(options) == 1:
        schema = {key: value for key, value in schema.items() if key != "anyOf"} | options[0]
    if schema.get("type") == "string" and not isinstance(schema.get("default", ""), str):
        del schema["default"]
    parameter = made | {"name": name, "schema": schema}
    return parameter | {"example": PARAMETERS[name]} if name in PARAMETERS else parameter


def _refusals(route: Route, contract: Contract, *, has_body: bool) -> dict[str, Any]:
    """What can go wrong, by status."""
    codes: dict[int, set[str]] = defaultdict(set)
    for error in _refused_for(route, contract, has_body=has_body):
        codes[STATUS[error].value].add(error.code)
    codes[500].add(InternalError.code)
    found = {}
    for status in codes.keys() | {429}:
        content: dict[str, Any] = {}
        # The codes are named examples: a schema that narrowed Problem to them would be another class for every
        # status of every operation in a generated client, and many generators cannot merge it at all.
        if status in codes:
            examples = {code: {"$ref": f"#/components/examples/{code}"} for code in sorted(codes[status])}
            content[PROBLEM_JSON] = {"schema": _PROBLEM, "examples": examples}
        if status in _BY_GATEWAY:
            content[JSON] = {"schema": _MESSAGE}
        if len(content) == 2:
            # Generated clients take the first schema of a status, whatever the content type of the answer.
            for each in content.values():
                each["schema"] = {"anyOf": [_PROBLEM, _MESSAGE]}
        description = _BY_GATEWAY.get(status) or ", ".join(f"`{code}`" for code in sorted(codes[status]))
        found[str(status)] = {"description": description, "content": content}
        if status in _HEADERS:
            found[str(status)]["headers"] = _HEADERS[status]
    return found


def _refused_for(route: Route, contract: Contract, *, has_body: bool) -> Iterator[type[BillingError]]:
    yield errors.ValidationFailed  # an unknown query parameter, if nothing else
    if "{" in route.openapi_path:
        yield errors.RouteNotFound  # what stands in the path can be no id at all
    yield from contract.raises
    if contract.allow is not PUBLIC:
        yield from _CREDENTIALS
    if has_body:
        yield from _BODY


def _problem_schema() -> dict[str, Any]:
    return Problem.model_json_schema(ref_template=f"{_SCHEMAS}{{model}}", mode="serialization")


def _referred(value: object, schemas: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The schemas that `value` refers to, and those that they refer to."""
    waiting, seen = list(_references(value)), {"Problem", "FieldProblem", "GatewayMessage"}
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            yield name, schemas[name]
            waiting += _references(schemas[name])


def _references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        reference = value.get("$ref")
        if isinstance(reference, str) and reference.startswith(_SCHEMAS):
            yield reference.removeprefix(_SCHEMAS)
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _references(each)


def _tidy(value: Any, *, names: bool = False) -> Any:
    """Without the titles that pydantic makes of names. In `names` the keys are names themselves, not keywords."""
    if isinstance(value, dict):
        return {
            key: _tidy(each, names=key in ("properties", "$defs") and not names)
            for key, each in value.items()
            if names or key != "title" or not isinstance(each, str)
        }
    return [_tidy(each) for each in value] if isinstance(value, list) else value


def _camel_path(path: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: f"{{{to_camel(match[1])}}}", path)


def _order(path: str) -> tuple[int, bool, str]:
    """By tag, then by path; what everybody begins with is first."""
    tag = next(tag for start, tag in _TAG_OF.items() if path.startswith(start))
    return list(TAGS).index(tag), path != "/api/usage/record", path
