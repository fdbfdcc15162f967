"""The OpenAPI document, which is valid, complete and consistent with the API, and the page that shows it."""

import importlib
import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests import contract
from tests.api import Api as Client
from tests.api import bearer, routes
from tests.contract import closed, validator
from tests.template import ROOT, functions, variables
from usage_billing.access.callers import PUBLIC, Role
from usage_billing.apidocs import examples, openapi
from usage_billing.apidocs import page as apidocs_page
from usage_billing.kernel import errors
from usage_billing.web.problems import STATUS
from usage_billing.web.resolver import Api, Contract


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    # Through JSON, as a caller gets it.
    parsed: dict[str, Any] = json.loads(json.dumps(openapi.document()))
    return parsed


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def schemas(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a document that is, or could be, a schema."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from schemas(each)


def test_the_document_is_valid_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(document).validate()


def test_the_document_describes_exactly_the_routes_of_the_template(document: dict[str, Any]) -> None:
    assert {(method, path) for method, path, _ in operations(document)} == set(routes())


def test_the_version_is_the_projects_version(document: dict[str, Any]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert document["info"]["version"] == project["version"]


def test_the_document_can_be_built_without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in variables():
        monkeypatch.delenv(name, raising=False)
    openapi.routes.cache_clear()
    openapi.document.cache_clear()
    assert openapi.document()["paths"]


def test_every_operation_has_an_id_a_summary_a_description_and_tags(document: dict[str, Any]) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids))
    for (method, path), module in routes().items():
        operation = document["paths"][path][method.lower()]
        # The summary comes from the first line of the handler's file.
        assert str(importlib.import_module(module).__doc__).startswith(f"{method} {path}")
        assert len(operation["summary"]) > 10
        assert set(operation["tags"]) <= tags
        assert operation["description"]
        # put_quota.py handles putQuota.
        assert re.sub("([A-Z])", r"_\1", operation["operationId"]).lower() == module


def test_every_operation_declares_its_security(document: dict[str, Any]) -> None:
    schemes = document["components"]["securitySchemes"]
    for _, path, operation in operations(document):
        assert all(set(each) <= set(schemes) for each in operation["security"])
        assert (operation["security"] == []) == (path in {"/", "/openapi.json", "/docs"})
        assert ("401" in operation["responses"]) == ("403" in operation["responses"]) == (operation["security"] != [])


def test_every_path_parameter_is_declared_with_its_pattern(document: dict[str, Any]) -> None:
    for _, path, operation in operations(document):
        declared = {each["name"]: each for each in operation.get("parameters", []) if each["in"] == "path"}
        assert set(declared) == set(re.findall(r"\{(\w+)\}", path))
        assert all(each["required"] and each["schema"]["pattern"] for each in declared.values())


def test_every_error_response_is_a_problem_with_its_possible_codes(document: dict[str, Any]) -> None:
    codes = {error.code for error in STATUS} | {"internal_error"}
    for method, path, operation in operations(document):
        assert {"422", "429", "500"} <= set(operation["responses"])
        assert ("413" in operation["responses"]) == ("415" in operation["responses"]) == ("requestBody" in operation)
        for status, answer in operation["responses"].items():
            if status == "429":  # from API Gateway itself
                assert set(answer["content"]) == {"application/json"}
            elif int(status) >= 400:
                content = answer["content"]["application/problem+json"]
                schema = content["schema"]
                assert schema.get("anyOf", [schema])[0] == {"$ref": "#/components/schemas/Problem"}
                assert set(content["examples"]) <= codes, (method, path, status)
                for code, example in content["examples"].items():
                    assert example == {"$ref": f"#/components/examples/{code}"}


def test_every_error_is_declared_somewhere(document: dict[str, Any]) -> None:
    declared = {
        code
        for _, _, operation in operations(document)
        for answer in operation["responses"].values()
        for code in answer["content"].get("application/problem+json", {}).get("examples", {})
    }
    # An unknown route has no operation. Errors of a settlement stay inside a billing run. Events of a busy ledger go to
    # the queue.
    undeclared: set[type[errors.BillingError]] = {
        errors.MethodNotAllowed,
        errors.InvoiceNotDraft,
        errors.InvoiceCurrencyMismatch,
        errors.LedgerBusy,
    }
    assert {error.code for error in STATUS} - declared == {error.code for error in undeclared}


def test_503_declares_retry_after_and_401_declares_www_authenticate(document: dict[str, Any]) -> None:
    for _, _, operation in operations(document):
        if operation["security"]:
            assert "Retry-After" in operation["responses"]["503"]["headers"]
            assert operation["responses"]["401"]["headers"]["WWW-Authenticate"]["required"]


def test_every_error_has_a_valid_example(document: dict[str, Any]) -> None:
    found = document["components"]["examples"]
    assert set(found) == {error.code for error in STATUS}
    for error, status in STATUS.items():
        example = found[error.code]["value"]
        assert (example["code"], example["status"]) == (error.code, status)
        validator({"$ref": "#/components/schemas/Problem"}).validate(example)


def models_in(document: dict[str, Any], value: Any) -> set[str]:
    """The models that a part of the document refers to, directly or through other models."""
    found: set[str] = set()
    waiting = [value]
    while waiting:
        references = [each["$ref"] for each in schemas(waiting.pop()) if isinstance(each.get("$ref"), str)]
        names = {name.rpartition("/")[2] for name in references if name.startswith("#/components/schemas/")} - found
        found |= names
        waiting += [document["components"]["schemas"][name] for name in names]
    return found


def test_requests_forbid_unknown_fields_and_responses_allow_them(document: dict[str, Any]) -> None:
    models = document["components"]["schemas"]
    taken = models_in(document, [operation.get("requestBody") for _, _, operation in operations(document)])
    assert taken
    assert models_in(document, document["paths"]) == set(models), "no model is unused"
    for name, model in models.items():
        if "enum" in model:
            continue
        assert model["type"] == "object"
        assert model["properties"], name
        assert model.get("additionalProperties") == (False if name in taken else None), name


def test_the_contract_check_rejects_undeclared_fields() -> None:
    answer = {"message": "Too Many Requests"}
    headers = {"Content-Type": "application/json"}
    contract.check("GET", "/api/invoices", 429, headers, json.dumps(answer))
    with pytest.raises(AssertionError, match="'more' was unexpected"):
        contract.check("GET", "/api/invoices", 429, headers, json.dumps(answer | {"more": 1}))
    assert closed({"properties": {"a": {"anyOf": [{"properties": {}}]}}}) == {
        "properties": {"a": {"anyOf": [{"properties": {}, "additionalProperties": False}]}},
        "additionalProperties": False,
    }


def test_the_contract_check_rejects_undeclared_errors() -> None:
    headers = {"Content-Type": "application/problem+json", "Retry-After": "1"}

    def problem(**fields: Any) -> str:
        return json.dumps(openapi.document()["components"]["examples"]["database_unavailable"]["value"] | fields)

    contract.check("GET", "/api/invoices", 503, headers, problem())
    for wrong in ({"code": "queue_unavailable"}, {"status": 500}, {"message": "Service Unavailable"}):
        with pytest.raises(AssertionError):
            contract.check("GET", "/api/invoices", 503, headers, problem(**wrong))


# --- Generated clients ---


def test_client_generators_find_plain_schemas(document: dict[str, Any]) -> None:
    """No schemas to be merged, and one schema per status: openapi-python-client and others support no more."""
    for each in schemas(document):
        assert "allOf" not in each, "models are referenced directly"
    for _, _, operation in operations(document):
        for status, answer in operation["responses"].items():
            found = {json.dumps(content["schema"]) for content in answer["content"].values()}
            assert len(found) == 1, (operation["operationId"], status)


def test_every_request_and_response_has_a_valid_example(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        holders = [operation.get("requestBody", {}), *(a for s, a in operation["responses"].items() if s[0] == "2")]
        for content in [each for holder in holders for each in holder.get("content", {}).values()]:
            if "$ref" in content["schema"]:
                validator(content["schema"]).validate(content["example"])
                assert content["example"], (method, path)
        for parameter in operation.get("parameters", []):
            if parameter["name"] != "cursor":  # cursors are opaque
                validator(parameter["schema"]).validate(parameter["example"])


def test_every_example_belongs_to_a_model(document: dict[str, Any]) -> None:
    assert set(examples.BODIES) <= set(document["components"]["schemas"])


def test_two_models_with_the_same_name_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    real = openapi._schema_of

    def part(app: Api) -> dict[str, Any]:
        made: dict[str, Any] = json.loads(json.dumps(real(app)))
        for name in made["components"]["schemas"]:
            made["components"]["schemas"][name]["description"] = str(id(app))
        return made

    monkeypatch.setattr(openapi, "_schema_of", part)
    openapi.document.cache_clear()
    try:
        with pytest.raises(ValueError, match="duplicate model name"):
            openapi.document()
    finally:
        openapi.document.cache_clear()


def contract_of(app: Api, route: Any) -> Contract:
    found = app.contract(route.func)
    assert found
    return found


def test_the_api_reference_lists_the_errors_of_each_endpoint() -> None:
    sections = re.split(r"^## ", (ROOT / "docs/api.md").read_text(), flags=re.MULTILINE)
    for app, route in openapi.routes():
        path = re.sub(r"_(\w)", lambda found: found[1].upper(), route.openapi_path)
        path = path.replace("/drop", "/redrive")  # both share a section
        raised = contract_of(app, route).raises
        for section in [each for each in sections if path in re.split("[ ,?]", each.partition("\n")[0])]:
            listed = section.rpartition("\nErrors: ")[2]
            missing = [error.code for error in raised if f"`{error.code}`" not in listed]
            assert not missing, (path, missing)
            break
        else:
            assert not raised, path


# --- Access ---


def test_only_the_index_and_the_documentation_are_public() -> None:
    public = {route.openapi_path for app, route in openapi.routes() if contract_of(app, route).allow is PUBLIC}
    assert public == {"/", "/openapi.json", "/docs"}


@pytest.mark.parametrize("path", ["/", "/openapi.json", "/docs"])
@pytest.mark.parametrize("headers", [{}, {"x-api-key": "wrong"}, bearer("user-1")], ids=["none", "wrong", "user"])
def test_the_documentation_is_served_to_everybody(path: str, headers: dict[str, str]) -> None:
    answer = Client().get(path, headers=headers)
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "public, max-age=300"


def test_the_index_has_name_version_and_links(document: dict[str, Any]) -> None:
    index = Client().get("/", headers={}).json
    assert index == {
        "name": document["info"]["title"],
        "version": document["info"]["version"],
        "docs": "docs",
        "openapi": "openapi.json",
    }
    for link in (index["docs"], index["openapi"]):
        assert ("GET", f"/{link}") in routes()


def test_functions_that_read_nothing_have_no_permissions() -> None:
    for name in ("GetIndexFunction", "GetOpenapiFunction", "GetDocsFunction", "RefuseRouteFunction"):
        assert "Policies" not in functions()[name]["Properties"]


def test_a_route_cannot_become_public_by_accident() -> None:
    app = Api()
    with pytest.raises(TypeError):
        app.get("/without-allow")  # type: ignore[call-arg] # the missing argument is what is tested
    with pytest.raises(ValueError, match="nobody could call GET /for-no-role"):
        app.get("/for-no-role", allow=frozenset())
    roles: list[object] = list(Role)
    assert PUBLIC not in roles
    assert not isinstance(PUBLIC, (frozenset, str))


@pytest.mark.parametrize("allow", [None, False, "", "PUBLIC", (), []], ids=repr)
def test_only_the_marker_makes_a_route_public(aws: None, allow: Any) -> None:
    app = Api()
    try:

        @app.get("/open", allow=allow)
        def get_open() -> None:
            raise AssertionError("the request was let in")

    except (ValueError, TypeError):
        return
    event = {
        "version": "2.0",
        "rawPath": "/open",
        "headers": {},
        "requestContext": {"http": {"method": "GET", "path": "/open"}, "stage": "$default"},
    }
    assert app.resolve(event, None)["statusCode"] == 401  # type: ignore[arg-type]


# --- The page ---


def test_the_page_shows_every_operation_model_and_error(document: dict[str, Any]) -> None:
    page = Client().get("/docs").text
    for _, path, operation in operations(document):
        assert f'<section id="{operation["operationId"]}">' in page
        assert f">{path}<" in page
    for name, schema in document["components"]["schemas"].items():
        assert f'<section id="model-{name}">' in page
        assert all(f"<code>{value}</code>" in page for value in schema.get("enum", [])), name
    for code in document["components"]["examples"]:
        assert f"<code>{code}</code></td>" in page
    links = set(re.findall(r'href="#([^"]+)"', page))
    assert links <= set(re.findall(r'id="([^"]+)"', page))


def test_the_page_loads_nothing_and_its_policy_forbids_it() -> None:
    answer = Client().get("/docs")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert not re.search(r"<(script|link|img|iframe|form|object|embed)\b|\bsrc=|@import|url\(|\bon\w+=", answer.text)
    assert set(re.findall(r'href="([^#"][^"]*)"', answer.text)) == {"openapi.json"}
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


def test_text_from_the_document_is_escaped(document: dict[str, Any]) -> None:
    bad = "<script>alert(1)</script>"

    def poisoned(value: Any) -> Any:
        if isinstance(value, dict):
            kept = ("$ref", "type", "in", "name", "operationId", "tags")
            return {key: each if key in kept else poisoned(each) for key, each in value.items()}
        if isinstance(value, list):
            return [poisoned(each) for each in value]
        return f"{bad}{value}" if isinstance(value, str) else value

    page = apidocs_page.render(poisoned(document))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
