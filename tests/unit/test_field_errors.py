"""Validation errors in our own words, from what pydantic reports."""

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, ValidationError

from usage_billing.kernel.errors import FieldError
from usage_billing.kernel.fields import Strict
from usage_billing.web.field_errors import (
    MESSAGES,
    PATTERNS,
    UNCLEAR,
    field_error,
    field_names,
    invalid,
    legible,
    unknown_parameters,
)


def fault(kind: str, *where: str | int, **limits: Any) -> dict[str, Any]:
    """An error as pydantic reports it."""
    return {"type": kind, "loc": where or ("body", "field"), "ctx": limits}


def message(kind: str, **limits: Any) -> str:
    return field_error(fault(kind, **limits)).message


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
        pytest.param("too_long", {}, UNCLEAR, id="a limit that pydantic does not name"),
        pytest.param("no_such_type", {}, UNCLEAR, id="an error that the table does not know"),
        pytest.param("value_error", {"error": ValueError("must be even")}, "must be even", id="a validator of ours"),
        pytest.param("value_error", {"error": ""}, UNCLEAR, id="a validator without words"),
        pytest.param("value_error", {}, UNCLEAR, id="no error of a validator"),
        pytest.param("enum", {"expected": "'a', 'b' or 'c'"}, "must be a, b or c", id="one of several words"),
        pytest.param("literal_error", {"expected": "'a'"}, "must be a", id="one word"),
        pytest.param("enum", {}, UNCLEAR, id="one of words that pydantic does not name"),
        pytest.param("string_pattern_mismatch", {"pattern": "^x$"}, UNCLEAR, id="a pattern without a rule"),
        pytest.param("string_pattern_mismatch", {}, UNCLEAR, id="no pattern"),
    ],
)
def test_an_error_of_pydantic_is_told_in_our_words(kind: str, limits: dict[str, Any], expected: str) -> None:
    assert message(kind, **limits) == expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        pytest.param("bool_type", "must be true or false", id="one that needs none"),
        pytest.param("value_error", UNCLEAR, id="a validator of ours"),
        pytest.param("string_pattern_mismatch", UNCLEAR, id="a pattern"),
        pytest.param("enum", UNCLEAR, id="one of several words"),
        pytest.param("too_short", UNCLEAR, id="a limit"),
    ],
)
def test_an_error_is_told_even_if_pydantic_names_no_limits(kind: str, expected: str) -> None:
    assert field_error({"type": kind, "loc": ("body", "a")}) == FieldError("a", "invalid", expected)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_each_pattern_is_told_by_its_rule(pattern: str) -> None:
    assert message("string_pattern_mismatch", pattern=pattern) == PATTERNS[pattern]


@pytest.mark.parametrize("kind", sorted(MESSAGES))
def test_each_message_of_the_table_takes_the_limits_that_pydantic_names(kind: str) -> None:
    limits = {"min_length": 2, "max_length": 3, "gt": 4, "ge": 5, "lt": 6, "le": 7}
    assert message(kind, **limits) == MESSAGES[kind].format(**limits)


@pytest.mark.parametrize(
    ("where", "field"),
    [
        pytest.param(("body", "userId"), "userId", id="a field"),
        pytest.param(("body", "events", 3, "userId"), "events.3.userId", id="a field inside a list"),
        pytest.param(("body", "user_id"), "user_id", id="as the caller named it"),
        pytest.param(("query", "page_size"), "page_size", id="a parameter"),
        pytest.param(("path", "subscription_id"), "subscriptionId", id="a part of the path"),
        pytest.param(("body",), "body", id="the whole body"),
        pytest.param(("path",), "path", id="the whole path"),
        pytest.param(("body", "ä" * 2), "\\xe4\\xe4", id="a name that is not ASCII"),
    ],
)
def test_a_field_is_named_as_in_json(where: tuple[str | int, ...], field: str) -> None:
    assert field_error(fault("missing", *where)) == FieldError(field, "missing", "is required")
    assert field_error(fault("bool_type", *where)) == FieldError(field, "invalid", "must be true or false")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        pytest.param("user_id", "userId", id="other separators"),
        pytest.param("USER-ID", "userId", id="another case"),
        pytest.param("usrId", "userId", id="a letter too few"),
        pytest.param("subscription", "subscriptionId", id="a word too few"),
        pytest.param("price", None, id="nothing like it"),
        pytest.param("use", None, id="half of it"),
        pytest.param("subscriptionsubscriptionsubscriptionsubs", None, id="as long as is compared"),
        pytest.param("userId" + "_" * 34, "userId", id="as long as is compared, but for separators"),
        pytest.param("userId" + "_" * 35, None, id="longer than is compared"),
    ],
)
def test_an_unknown_field_is_told_the_one_that_was_probably_meant(name: str, meant: str | None) -> None:
    hint = f"; did you mean {meant}?" if meant else ""
    error = FieldError(name, "unknown", f"is not a field of this request{hint}")
    assert field_error(fault("extra_forbidden", "body", name), ["quantity", "userId", "subscriptionId"]) == error


def test_an_unknown_field_is_told_nothing_where_nothing_is_known() -> None:
    error = FieldError("userid", "unknown", "is not a field of this request")
    assert field_error(fault("extra_forbidden", "body", "userid")) == error
    assert invalid([fault("extra_forbidden", "body", "userid")]).fields == (error,)


def test_unknown_parameters_are_told_together() -> None:
    failed = unknown_parameters(["limmit", "x"], ["limit", "cursor"])
    assert failed.fields == (
        FieldError("limmit", "unknown", "is not a parameter of this endpoint; did you mean limit?"),
        FieldError("x", "unknown", "is not a parameter of this endpoint"),
    )


@pytest.mark.parametrize(
    ("count", "last"),
    [
        pytest.param(20, None, id="as many as are told"),
        pytest.param(21, "and 1 more error", id="one more"),
        pytest.param(22, "and 2 more errors", id="two more"),
    ],
)
def test_only_the_first_errors_are_told_and_how_many_more_there_are(count: int, last: str | None) -> None:
    told = [FieldError(f"a.{n}", "missing", "is required") for n in range(min(count, 20))]
    more = [FieldError("a.0", "more", last)] if last else []
    assert invalid([fault("missing", "body", "a", n) for n in range(count)]).fields == (*told, *more)


def test_one_name_that_is_known_helps_with_every_unknown_field() -> None:
    known = (name for name in ["userId"])
    failed = invalid([fault("extra_forbidden", "body", name) for name in ("user_id", "userID")], known)
    assert [each.message[-7:] for each in failed.fields] == ["userId?", "userId?"]


def test_what_is_quoted_is_cut_off_and_ascii() -> None:
    assert legible("a" * 200) == "a" * 200
    assert legible("a" * 200 + "b") == "a" * 200
    assert legible("ü\n\ud800") == "\\xfc\n\\ud800"
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
        pytest.param(dict[str, Any], [], id="no model"),
        pytest.param(None, [], id="no body"),
    ],
)
def test_the_names_of_a_bodys_fields(body: Any, names: list[str]) -> None:
    assert field_names(body) == names


def test_the_errors_of_a_model_are_told_in_our_words() -> None:
    with pytest.raises(ValidationError) as refused:
        Order.model_validate({"userid": 1, "n": "many"})
    faults = [{**each, "loc": ("body", *each["loc"])} for each in refused.value.errors()]
    failed = invalid(faults, field_names(Order))
    assert failed.message == (
        "userId: is required; n: must be a whole number; userid: is not a field of this request; did you mean userId?"
    )
