"""The API's description of itself: complete, valid, and about this API."""

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
from usage_billing.web.resolver import Api


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    # As a caller gets it: through JSON.
    return json.loads(json.dumps(openapi.document()))


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def schemas(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a document that is, or might be, a schema."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from schemas(each)


def test_it_is_valid_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(document).validate()


def test_it_describes_the_routes_of_the_template_and_no_others(document: dict[str, Any]) -> None:
    assert {(method, path) for method, path, _ in operations(document)} == set(routes())


def test_its_version_is_the_projects(document: dict[str, Any]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert document["info"]["version"] == project["version"]


def test_it_can_be_made_without_any_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in variables():
        monkeypatch.delenv(name, raising=False)
    openapi.routes.cache_clear()
    openapi.document.cache_clear()
    assert openapi.document()["paths"]


def test_every_operation_says_what_it_does_and_whose_it_is(document: dict[str, Any]) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids))
    for (method, path), module in routes().items():
        operation = document["paths"][path][method.lower()]
        # The first line of a handler's file is where the summary comes from.
        assert str(importlib.import_module(module).__doc__).startswith(f"{method} {path}")
        assert len(operation["summary"]) > 10
        assert set(operation["tags"]) <= tags
        assert operation["description"]
        # putQuota is answered by put_quota.py.
        assert re.sub("([A-Z])", r"_\1", operation["operationId"]).lower() == module


def test_it_says_who_may_call(document: dict[str, Any]) -> None:
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


def test_every_refusal_is_a_problem_with_the_codes_it_may_have(document: dict[str, Any]) -> None:
    codes = {error.code for error in STATUS} | {"internal_error"}
    for method, path, operation in operations(document):
        assert {"422", "429", "500"} <= set(operation["responses"])
        assert ("413" in operation["responses"]) == ("415" in operation["responses"]) == ("requestBody" in operation)
        for status, answer in operation["responses"].items():
            if status == "429":  # API Gateway's own
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
    # What meets no route has no operation; a batch's events carry their problems themselves; a settlement's
    # fail inside a billing run; a hot ledger's events go to the queue.
    nowhere = {
        errors.MethodNotAllowed,
        errors.InvoiceNotDraft,
        errors.InvoiceCurrencyMismatch,
        errors.LedgerBusy,
    }
    assert {error.code for error in STATUS} - declared == {error.code for error in nowhere}


def test_what_may_be_asked_again_says_when(document: dict[str, Any]) -> None:
    for _, _, operation in operations(document):
        if operation["security"]:
            assert "Retry-After" in operation["responses"]["503"]["headers"]
            assert operation["responses"]["401"]["headers"]["WWW-Authenticate"]["required"]


def test_every_error_has_an_example_that_fits(document: dict[str, Any]) -> None:
    found = document["components"]["examples"]
    assert set(found) == {error.code for error in STATUS}
    for error, status in STATUS.items():
        example = found[error.code]["value"]
        assert (example["code"], example["status"]) == (error.code, status)
        validator({"$ref": "#/components/schemas/Problem"}).validate(example)


def models_in(document: dict[str, Any], value: Any) -> set[str]:
    """The models that a part of the document refers to, and those that they refer to."""
    found: set[str] = set()
    waiting = [value]
    while waiting:
        references = [each["$ref"] for each in schemas(waiting.pop()) if isinstance(each.get("$ref"), str)]
        names = {name.rpartition("/")[2] for name in references if name.startswith("#/components/schemas/")} - found
        found |= names
        waiting += [document["components"]["schemas"][name] for name in names]
    return found


def test_requests_are_closed_and_answers_may_grow(document: dict[str, Any]) -> None:
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


def test_our_own_answers_must_be_declared_in_full() -> None:
    answer = {"message": "Too Many Requests"}
    headers = {"Content-Type": "application/json"}
    contract.check("GET", "/api/invoices", 429, headers, json.dumps(answer))
    with pytest.raises(AssertionError, match="'more' was unexpected"):
        contract.check("GET", "/api/invoices", 429, headers, json.dumps(answer | {"more": 1}))
    assert closed({"properties": {"a": {"anyOf": [{"properties": {}}]}}}) == {
        "properties": {"a": {"anyOf": [{"properties": {}, "additionalProperties": False}]}},
        "additionalProperties": False,
    }


def test_an_error_must_be_one_that_is_declared() -> None:
    headers = {"Content-Type": "application/problem+json", "Retry-After": "1"}

    def problem(**fields: Any) -> str:
        return json.dumps(openapi.document()["components"]["examples"]["database_unavailable"]["value"] | fields)

    contract.check("GET", "/api/invoices", 503, headers, problem())
    for wrong in ({"code": "queue_unavailable"}, {"status": 500}, {"message": "Service Unavailable"}):
        with pytest.raises(AssertionError):
            contract.check("GET", "/api/invoices", 503, headers, problem(**wrong))


# --- What generators of clients can bear ---


def test_a_generator_finds_plain_schemas(document: dict[str, Any]) -> None:
    """Nothing that has to be merged, and one schema for a status: openapi-python-client and others take no more."""
    for each in schemas(document):
        assert "allOf" not in each, "models are referred to as they are"
    for _, _, operation in operations(document):
        for status, answer in operation["responses"].items():
            found = {json.dumps(content["schema"]) for content in answer["content"].values()}
            assert len(found) == 1, (operation["operationId"], status)


def test_every_request_and_answer_has_an_example_that_fits(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        holders = [operation.get("requestBody", {}), *(a for s, a in operation["responses"].items() if s[0] == "2")]
        for content in [each for holder in holders for each in holder.get("content", {}).values()]:
            if "$ref" in content["schema"]:
                validator(content["schema"]).validate(content["example"])
                assert content["example"], (method, path)
        for parameter in operation.get("parameters", []):
            if parameter["name"] != "cursor":  # nobody makes one up
                validator(parameter["schema"]).validate(parameter["example"])


def test_no_example_is_of_a_model_that_is_not_there(document: dict[str, Any]) -> None:
    assert set(examples.BODIES) <= set(document["components"]["schemas"])


def test_two_models_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    real = openapi._schema_of

    def part(app: Api) -> dict[str, Any]:
        made = json.loads(json.dumps(real(app)))
        for name in made["components"]["schemas"]:
            made["components"]["schemas"][name]["description"] = str(id(app))
        return made

    monkeypatch.setattr(openapi, "_schema_of", part)
    openapi.document.cache_clear()
    try:
        with pytest.raises(ValueError, match="two models are called"):
            openapi.document()
    finally:
        openapi.document.cache_clear()


def test_the_manual_lists_the_errors_of_each_endpoint() -> None:
    sections = re.split(r"^## ", (ROOT / "docs/api.md").read_text(), flags=re.MULTILINE)
    for app, route in openapi.routes():
        path = re.sub(r"_(\w)", lambda found: found[1].upper(), route.openapi_path)
        path = path.replace("/drop", "/redrive")  # they share a section
        raised = app.contract(route.func).raises
        for section in [each for each in sections if path in re.split("[ ,?]", each.partition("\n")[0])]:
            listed = section.rpartition("\nErrors: ")[2]
            missing = [error.code for error in raised if f"`{error.code}`" not in listed]
            assert not missing, (path, missing)
            break
        else:
            assert not raised, path


# --- Who may read it, and how it is served ---


def test_the_description_is_all_that_is_public() -> None:
    public = {route.openapi_path for app, route in openapi.routes() if app.contract(route.func).allow is PUBLIC}
    assert public == {"/", "/openapi.json", "/docs"}


@pytest.mark.parametrize("path", ["/", "/openapi.json", "/docs"])
@pytest.mark.parametrize("headers", [{}, {"x-api-key": "wrong"}, bearer("user-1")], ids=["none", "wrong", "a user's"])
def test_the_description_is_for_everybody(path: str, headers: dict[str, str]) -> None:
    answer = Client().get(path, headers=headers)
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "public, max-age=300"


def test_the_root_says_what_this_is_and_links_to_the_description(document: dict[str, Any]) -> None:
    index = Client().get("/", headers={}).json
    assert index == {
        "name": document["info"]["title"],
        "version": document["info"]["version"],
        "docs": "docs",
        "openapi": "openapi.json",
    }
    for link in (index["docs"], index["openapi"]):
        assert ("GET", f"/{link}") in routes()


def test_what_reads_no_table_and_no_secret_has_no_right_to() -> None:
    for name in ("GetIndexFunction", "GetOpenapiFunction", "GetDocsFunction", "RefuseRouteFunction"):
        assert "Policies" not in functions()[name]["Properties"]


def test_a_route_cannot_become_public_by_accident() -> None:
    app = Api()
    with pytest.raises(TypeError):
        app.get("/nobody-said-for-whom")  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="nobody could call GET /for-no-role"):
        app.get("/for-no-role", allow=frozenset())
    assert PUBLIC not in list(Role)
    assert not isinstance(PUBLIC, (frozenset, str))


@pytest.mark.parametrize("allow", [None, False, "", "PUBLIC", (), []], ids=repr)
def test_nothing_but_the_marker_makes_a_route_public(aws: None, allow: Any) -> None:
    app = Api()
    try:

        @app.get("/open", allow=allow)
        def get_open() -> None:
            raise AssertionError("this was let in")

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


def test_the_page_loads_nothing_and_may_load_nothing() -> None:
    answer = Client().get("/docs")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert not re.search(r"<(script|link|img|iframe|form|object|embed)\b|\bsrc=|@import|url\(|\bon\w+=", answer.text)
    assert set(re.findall(r'href="([^#"][^"]*)"', answer.text)) == {"openapi.json"}
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


def test_what_stands_in_the_document_cannot_become_markup(document: dict[str, Any]) -> None:
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
