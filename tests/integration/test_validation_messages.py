"""Validation errors say in plain words which field is invalid and what is allowed, never in the words of pydantic."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic_core._pydantic_core import list_all_errors

from tests.api import ADMIN, Answer, Api, bearer, routes
from tests.builders import event_body
from usage_billing.apidocs import openapi
from usage_billing.kernel.errors import FieldError
from usage_billing.kernel.identifiers import EVENT_ID_CHARACTERS
from usage_billing.usage.api import ReportedUsage
from usage_billing.web.field_errors import FALLBACK_MESSAGE, MAX_QUOTED, PATTERNS, field_error, field_names

PYDANTIC_PHRASES = ("input should", "string should", "list should", "after validation", "extra inputs", "not permitted",
             "should match", "pattern", "field required", "valid string", "valid dictionary", "value error", "tuple",
             "dictionary", "datetime", "timezone info", "unable to parse", "[A-Z", "{0,", "\\x21", "None")  # fmt: skip

BAD_VALUES: list[Any] = [
    None, True, 5, -1, 0, 32, 1.5, 1e30, "", " ", "a b", "a#b", ".a", "\ud800", "\x00", "x" * 5000, "ä", "gold",
    "ACTIVE", "1e5", "usd", "XXX", [], [1], [[]], {}, {"a": {"b": {"c": {"d": 1}}}}, {"a": "\ud800"},
    {f"k{n}": n for n in range(60)}, "2026-11-01", "2026-11-01T12:00:00", "2026-13-01T12:00:00Z",
    "2026-11-01T12:00:00Zx", "9999-12-31T23:59:59-23:00", list(range(501)),
]  # fmt: skip

OPERATIONS = {f"{method} {path}": (method, path) for method, path in routes()}


def text(value: Any) -> str:
    return str(value).encode(errors="backslashreplace").decode()


def responses(api: Api, method: str, path: str) -> Iterator[Answer]:
    """The responses to each bad value in each field of the body and in each parameter of an operation."""
    admin = bearer(*ADMIN)
    [takes] = [
        route.dependant
        for _, route in openapi.routes()
        if route.method == method and re.sub(r"{\w+}", "{}", route.openapi_path) == re.sub(r"{\w+}", "{}", path)
    ]
    good = re.sub(r"{\w+}", "a", path)
    body: dict[str, object] | None = {} if takes.body_params else None
    for bad in make_bad_bodies([each.type_ for each in takes.body_params]):
        yield api(method, good, bad, headers=admin)
    for name in [parameter.alias for parameter in takes.query_params] + ["unknown"]:
        yield from (api(method, good, body, headers=admin, query={name: text(value)}) for value in BAD_VALUES)
    for name in [parameter.alias for parameter in takes.header_params]:
        yield from (api(method, good, body, headers=admin | {name: text(value)}) for value in BAD_VALUES)
    for name in re.findall(r"{\w+}", path):
        wrong = [re.sub(r"{\w+}", "a", path.replace(name, value)) for value in ("x" * 200, ".a", "a b")]
        yield from (api(method, each, body, headers=admin) for each in wrong)


def make_bad_bodies(models: list[Any]) -> Iterator[Any]:
    for model in models:
        yield from ({name: value} for name in field_names(model) for value in BAD_VALUES)
        yield from BAD_VALUES
        yield {"unknown": 1}


def check_explanations(errors: list[dict[str, str]]) -> None:
    for error in errors:
        message = error["message"]
        assert not [phrase for phrase in PYDANTIC_PHRASES if phrase.lower() in message.lower()], error
        assert message not in ("", FALLBACK_MESSAGE), error
        assert len(message) <= MAX_QUOTED
        assert re.match(r"(must|is|and) ", message), error
        assert error["code"] in FieldError.__annotations__["code"].__args__


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_every_bad_value_of_every_field_and_parameter_is_explained(api: Api, operation: tuple[str, str]) -> None:
    refused = 0
    for answer in responses(api, *operation):
        assert answer.status < 500, answer.text
        if answer.code == "validation_error":
            refused += 1
            check_explanations(answer.json["errors"])
    assert refused, "at least an unknown parameter is rejected"


def test_every_bad_event_of_a_batch_is_explained(ready: Api) -> None:
    events = [{name: value} for name in field_names(ReportedUsage) for value in BAD_VALUES]
    results = ready.post("/api/usage/batch", {"events": events}).json["results"]
    assert len(results) == len(events)
    for result in results:
        check_explanations(result["problem"]["errors"])


def test_no_pydantic_error_is_shown_in_its_own_words() -> None:
    for error in list_all_errors():
        pydantic_error: dict[str, Any] = {
            "type": error["type"],
            "loc": ("body", "field"),
            "msg": error["message_template_python"],
            "ctx": {},
        }
        with_limits = pydantic_error | {"ctx": error.get("example_context") or {}}
        for explained in (field_error(pydantic_error), field_error(with_limits)):
            assert explained.message != pydantic_error["msg"]
            assert not [phrase for phrase in PYDANTIC_PHRASES if phrase.lower() in explained.message.lower()], explained


def test_every_pattern_is_explained_in_words() -> None:
    def patterns(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            yield from [value["pattern"]] if isinstance(value.get("pattern"), str) else []
            value = list(value.values())
        if isinstance(value, list):
            for each in value:
                yield from patterns(each)

    # The patterns of money, bounds, reserved ids and responses are only documented. Code checks these values.
    described = {"^-?[0-9]+", "^[0-9]{1,12}", "^(197[1-9]|", "^(?!", "^Bearer "}
    found = {each for each in patterns(openapi.document()) if not each.startswith(tuple(described))}
    assert found | {EVENT_ID_CHARACTERS} == set(PATTERNS)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("user_id", "userId"),
        ("UserID", "userId"),
        ("subscription", "subscriptionId"),
        ("ocurredAt", "occurredAt"),  # codespell:ignore ocurred
        ("quantities", "quantity"),
        ("x" * 10_000, None),
        ("price", None),
    ],
)
def test_the_message_for_an_unknown_field_suggests_the_likely_one(ready: Api, name: str, meant: str | None) -> None:
    [error] = [each for each in ready.post("/api/usage/record", {name: 1}).json["errors"] if each["code"] == "unknown"]
    assert error["field"] == name[:MAX_QUOTED]
    expected = f"is not a field of this request; did you mean {meant}?" if meant else "is not a field of this request"
    assert error["message"] == expected


def test_the_message_for_an_unknown_parameter_suggests_the_likely_one(ready: Api) -> None:
    [error] = ready.get("/api/usage/user/user-1", query={"Limit": "1"}).json["errors"]
    assert error == {
        "field": "Limit",
        "code": "unknown",
        "message": "is not a parameter of this endpoint; did you mean limit?",
    }


@pytest.mark.parametrize(("extra", "last"), [(20, None), (21, "and 1 more error"), (25, "and 5 more errors")])
def test_the_first_20_errors_are_reported_and_the_rest_counted(ready: Api, extra: int, last: str | None) -> None:
    unknown = {f"unheard{number:02}": "1" for number in range(extra)}
    whole = event_body(None)
    for answer in (ready.post("/api/usage/record", whole | unknown), ready.get("/docs", query=unknown)):
        errors = answer.json["errors"]
        assert [error["code"] for error in errors[:20]] == ["unknown"] * 20
        assert [(error["code"], error["message"]) for error in errors[20:]] == ([("more", last)] if last else [])


def test_the_message_for_an_identifier_states_length_and_characters(ready: Api) -> None:
    [error] = ready.record(subscriptionId="a#b").json["errors"]
    assert error == {
        "field": "subscriptionId",
        "code": "invalid",
        "message": "must be 1 to 128 characters: letters, digits and . _ ~ : @ | + = , - (ASCII only), "
        "not starting with a dot",
    }


def test_the_message_for_a_status_lists_the_allowed_ones(ready: Api) -> None:
    [error] = ready.subscribe(status="gold").json["errors"]
    assert (error["field"], error["message"]) == ("status", "must be active, paused or canceled")
