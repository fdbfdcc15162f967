"""Field errors: pydantic's validation errors in the words of the API."""

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, ValidationError

from usage_billing.kernel.errors import FieldError
from usage_billing.kernel.fields import Strict
from usage_billing.web.field_errors import (
    FALLBACK_MESSAGE,
    MESSAGES,
    PATTERNS,
    field_error,
    field_names,
    safe_excerpt,
    unknown_parameters,
    validation_failed,
)


def pydantic_error(kind: str, *where: str | int, **limits: Any) -> dict[str, Any]:
    """An error as pydantic reports it."""
    return {"type": kind, "loc": where or ("body", "field"), "ctx": limits}


def message(kind: str, **limits: Any) -> str:
    return field_error(pydantic_error(kind, **limits)).message


@pytest.mark.parametrize(
    ("kind", "limits", "expected"),
    [
        pytest.param("missing", {}, "is required", id="a missing field"),
        pytest.param("too_long", {"max_length": 500}, "must have at most 500 items", id="a limit"),
        pytest.param("too_short", {"min_length": 2}, "must have at least 2 items", id="a lower limit of items"),
        pytest.param("too_short", {"min_length": 1}, "must not be empty", id="an empty list"),
        pytest.param("string_too_short", {"min_length": 1}, "must not be empty", id="an empty text"),
        pytest.param("too_long", {"max_length": 1, "min_length": 1}, "must have at most 1 items", id="not empty"),
        pytest.param("less_than_equal", {"le": 31}, "must be at most 31", id="an upper limit"),
        pytest.param("too_long", {}, FALLBACK_MESSAGE, id="a limit without its value"),
        pytest.param("no_such_type", {}, FALLBACK_MESSAGE, id="an unknown error type"),
        pytest.param(
            "value_error", {"error": ValueError("must be even")}, "must be even", id="an error of a validator"
        ),
        pytest.param("value_error", {"error": ""}, FALLBACK_MESSAGE, id="an error of a validator without a message"),
        pytest.param("value_error", {}, FALLBACK_MESSAGE, id="a validator error without the error"),
        pytest.param("enum", {"expected": "'a', 'b' or 'c'"}, "must be a, b or c", id="one of several values"),
        pytest.param("literal_error", {"expected": "'a'"}, "must be a", id="one value"),
        pytest.param("enum", {}, FALLBACK_MESSAGE, id="values that are not listed"),
        pytest.param("string_pattern_mismatch", {"pattern": "^x$"}, FALLBACK_MESSAGE, id="a pattern without a message"),
        pytest.param("string_pattern_mismatch", {}, FALLBACK_MESSAGE, id="a pattern mismatch without the pattern"),
    ],
)
def test_an_error_of_pydantic_gets_a_message_of_the_api(kind: str, limits: dict[str, Any], expected: str) -> None:
    assert message(kind, **limits) == expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        pytest.param("bool_type", "must be true or false", id="a message without limits"),
        pytest.param("value_error", FALLBACK_MESSAGE, id="an error of a validator"),
        pytest.param("string_pattern_mismatch", FALLBACK_MESSAGE, id="a pattern"),
        pytest.param("enum", FALLBACK_MESSAGE, id="one of several values"),
        pytest.param("too_short", FALLBACK_MESSAGE, id="a limit"),
    ],
)
def test_an_error_without_a_context_gets_a_message_too(kind: str, expected: str) -> None:
    assert field_error({"type": kind, "loc": ("body", "a")}) == FieldError("a", "invalid", expected)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_each_pattern_has_its_own_message(pattern: str) -> None:
    assert message("string_pattern_mismatch", pattern=pattern) == PATTERNS[pattern]


@pytest.mark.parametrize("kind", sorted(MESSAGES))
def test_each_message_uses_the_names_of_limits_that_pydantic_uses(kind: str) -> None:
    limits = {"min_length": 2, "max_length": 3, "gt": 4, "ge": 5, "lt": 6, "le": 7}
    assert message(kind, **limits) == MESSAGES[kind].format(**limits)


@pytest.mark.parametrize(
    ("where", "field"),
    [
        pytest.param(("body", "userId"), "userId", id="a field"),
        pytest.param(("body", "events", 3, "userId"), "events.3.userId", id="a field inside a list"),
        pytest.param(("body", "user_id"), "user_id", id="a field in snake_case stays as it is"),
        pytest.param(("query", "page_size"), "page_size", id="a parameter"),
        pytest.param(("path", "subscription_id"), "subscriptionId", id="a path parameter"),
        pytest.param(("body",), "body", id="the whole body"),
        pytest.param(("path",), "path", id="the whole path"),
        pytest.param(("body", "ä" * 2), "\\xe4\\xe4", id="a name that is not ASCII"),
    ],
)
def test_a_field_has_the_name_that_the_caller_knows(where: tuple[str | int, ...], field: str) -> None:
    assert field_error(pydantic_error("missing", *where)) == FieldError(field, "missing", "is required")
    assert field_error(pydantic_error("bool_type", *where)) == FieldError(field, "invalid", "must be true or false")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        pytest.param("user_id", "userId", id="other separators"),
        pytest.param("USER-ID", "userId", id="another case"),
        pytest.param("usrId", "userId", id="one letter missing"),
        pytest.param("subscription", "subscriptionId", id="one word missing"),
        pytest.param("price", None, id="not similar"),
        pytest.param("use", None, id="half of the name"),
        pytest.param("subscriptionsubscriptionsubscriptionsubs", None, id="the maximum length, not similar"),
        pytest.param("userId" + "_" * 34, "userId", id="the maximum length with separators"),
        pytest.param("userId" + "_" * 35, None, id="longer than the maximum"),
    ],
)
def test_an_unknown_field_comes_with_a_suggestion(name: str, meant: str | None) -> None:
    hint = f"; did you mean {meant}?" if meant else ""
    error = FieldError(name, "unknown", f"is not a field of this request{hint}")
    assert (
        field_error(pydantic_error("extra_forbidden", "body", name), ["quantity", "userId", "subscriptionId"]) == error
    )


def test_there_is_no_suggestion_without_known_fields() -> None:
    error = FieldError("userid", "unknown", "is not a field of this request")
    assert field_error(pydantic_error("extra_forbidden", "body", "userid")) == error
    assert validation_failed([pydantic_error("extra_forbidden", "body", "userid")]).fields == (error,)


def test_all_unknown_parameters_are_reported_in_one_error() -> None:
    failed = unknown_parameters(["limmit", "x"], ["limit", "cursor"])
    assert failed.fields == (
        FieldError("limmit", "unknown", "is not a parameter of this endpoint; did you mean limit?"),
        FieldError("x", "unknown", "is not a parameter of this endpoint"),
    )


@pytest.mark.parametrize(
    ("count", "last"),
    [
        pytest.param(20, None, id="the maximum"),
        pytest.param(21, "and 1 more error", id="one more than the maximum"),
        pytest.param(22, "and 2 more errors", id="two more than the maximum"),
    ],
)
def test_the_first_errors_are_reported_and_the_others_counted(count: int, last: str | None) -> None:
    first = [FieldError(f"a.{n}", "missing", "is required") for n in range(min(count, 20))]
    more = [FieldError("a.0", "more", last)] if last else []
    failed = validation_failed([pydantic_error("missing", "body", "a", n) for n in range(count)])
    assert failed.fields == (*first, *more)


def test_a_known_field_can_be_suggested_more_than_once() -> None:
    known = (name for name in ["userId"])
    failed = validation_failed(
        [pydantic_error("extra_forbidden", "body", name) for name in ("user_id", "userID")], known
    )
    assert [each.message[-7:] for each in failed.fields] == ["userId?", "userId?"]


def test_quoted_text_is_truncated_and_ascii() -> None:
    assert safe_excerpt("a" * 200) == "a" * 200
    assert safe_excerpt("a" * 200 + "b") == "a" * 200
    assert safe_excerpt("ü\n\ud800") == "\\xfc\n\\ud800"
    assert message("value_error", error="ü" * 201) == "\\xfc" * 200


class Order(Strict):
    user_id: str
    count: Annotated[int, Field(alias="n")] = 1


class Plain(BaseModel):
    some_name: int


@pytest.mark.parametrize(
    ("body", "names"),
    [
        pytest.param(Order, ["userId", "n"], id="a model"),
        pytest.param(Order | None, ["userId", "n"], id="an optional one"),
        pytest.param(Plain, ["some_name"], id="a model without aliases"),
        pytest.param(dict[str, Any], [], id="not a model"),
        pytest.param(None, [], id="no body"),
    ],
)
def test_the_field_names_of_a_body_are_its_aliases(body: Any, names: list[str]) -> None:
    assert field_names(body) == names


def test_the_errors_of_a_model_get_messages_of_the_api() -> None:
    with pytest.raises(ValidationError) as refused:
        Order.model_validate({"userid": 1, "n": "many"})
    errors = [{**each, "loc": ("body", *each["loc"])} for each in refused.value.errors()]
    failed = validation_failed(errors, field_names(Order))
    assert failed.message == (
        "userId: is required; n: must be a whole number; userid: is not a field of this request; did you mean userId?"
    )
