"""The errors of the domain: their messages, codes and field errors."""

from typing import Any

import pytest

from usage_billing.kernel import errors
from usage_billing.kernel.errors import BillingError, FieldError


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        pytest.param(BillingError, ["No such route."], "No such route.", id="the given message"),
        pytest.param(errors.ValidationFailed, [], "", id="no field"),
        pytest.param(
            errors.ValidationFailed,
            [FieldError("a", "missing", "is required"), FieldError("b.0", "invalid", "is odd")],
            "a: is required; b.0: is odd",
            id="several fields",
        ),
        pytest.param(errors.MethodNotAllowed, ["Use GET.", ["GET"]], "Use GET.", id="method not allowed"),
        pytest.param(
            errors.EventIdConflict,
            ["e1", ["userId", "quantity"]],
            "Another event of this subscription already has the event id e1. Fields that differ: userId, quantity.",
            id="event id conflict",
        ),
        pytest.param(errors.InternalError, [], "An internal error occurred on our side.", id="internal error"),
    ],
)
def test_an_error_has_a_message_for_the_caller(kind: type[BillingError], given: list[Any], message: str) -> None:
    error = kind(*given)
    assert error.message == str(error) == message


def test_a_failed_validation_keeps_its_fields() -> None:
    fields = FieldError("a", "missing", "is required"), FieldError("b", "invalid", "is odd")
    assert errors.ValidationFailed(*fields).fields == fields


def test_method_not_allowed_names_the_allowed_methods() -> None:
    assert errors.MethodNotAllowed("Use GET or PUT.", ["GET", "PUT"]).allowed == ["GET", "PUT"]


def test_a_conflict_has_a_field_error_for_each_field_that_differs() -> None:
    assert errors.EventIdConflict("e1", ["userId", "quantity"]).fields == [
        FieldError("userId", "differs", "differs from the recorded event"),
        FieldError("quantity", "differs", "differs from the recorded event"),
    ]


def test_the_codes_are_those_of_all_errors_at_any_depth() -> None:
    named = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, BillingError)]
    assert errors.error_codes() == {each.code for each in named if hasattr(each, "code")}
    assert {"validation_error", "credentials_missing", "internal_error"} <= errors.error_codes()
