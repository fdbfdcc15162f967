"""The table that maps errors to HTTP statuses, and error responses as problem details (RFC 9457)."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from aws_lambda_powertools.event_handler import Response as Response  # noqa: PLC0414 - for routes
from pydantic import BaseModel

from usage_billing.kernel import errors
from usage_billing.kernel.errors import BillingError, Unauthenticated
from usage_billing.kernel.exact_json import dumps
from usage_billing.platform.log_events import LogEvent
from usage_billing.platform.observability import AUTHENTICATION_FAILURES, count, logger

STATUS: Mapping[type[BillingError], HTTPStatus] = {
    errors.NotJson: HTTPStatus.BAD_REQUEST,
    errors.CredentialsMissing: HTTPStatus.UNAUTHORIZED,
    errors.CredentialsInvalid: HTTPStatus.UNAUTHORIZED,
    errors.CredentialsExpired: HTTPStatus.UNAUTHORIZED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.SubscriptionNotOwned: HTTPStatus.FORBIDDEN,
    errors.RouteNotFound: HTTPStatus.NOT_FOUND,
    errors.MethodNotAllowed: HTTPStatus.METHOD_NOT_ALLOWED,
    errors.SubscriptionNotFound: HTTPStatus.NOT_FOUND,
    errors.QuotaNotFound: HTTPStatus.NOT_FOUND,
    errors.QuotaVersionNotFound: HTTPStatus.NOT_FOUND,
    errors.InvoiceNotFound: HTTPStatus.NOT_FOUND,
    errors.EventNotFound: HTTPStatus.NOT_FOUND,
    errors.RunNotFound: HTTPStatus.NOT_FOUND,
    errors.EventIdConflict: HTTPStatus.CONFLICT,
    errors.SubscriptionInactive: HTTPStatus.CONFLICT,
    errors.SubscriptionUserFixed: HTTPStatus.CONFLICT,
    errors.PlanCurrencyMismatch: HTTPStatus.CONFLICT,
    errors.QuotaVersionInEffect: HTTPStatus.CONFLICT,
    errors.InvoiceNotDraft: HTTPStatus.CONFLICT,
    errors.InvoiceCurrencyMismatch: HTTPStatus.CONFLICT,
    errors.BodyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.UnsupportedMediaType: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.ValidationFailed: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.TooManyUsageTypes: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.InternalError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.LedgerBusy: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DatabaseUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.QueueUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.IdentityProviderUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""The HTTP status of each error."""

RETRY_AFTER_SECONDS = 1

PROBLEM_JSON = "application/problem+json"


class FieldProblem(BaseModel):
    """An error of one field of a request."""

    field: str
    code: str
    message: str


class Problem(BaseModel):
    """Problem details (RFC 9457). `code` is stable. `errors` lists the fields that are invalid or differ."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str
    errors: list[FieldProblem] | None = None

    @classmethod
    def of(cls, error: BillingError) -> "Problem":
        status = STATUS[type(error)]
        fields = error.fields if isinstance(error, errors.ValidationFailed | errors.EventIdConflict) else None
        return cls(
            title=status.phrase,
            status=status,
            code=error.code,
            detail=error.message,
            errors=fields and [FieldProblem(field=each.field, code=each.code, message=each.message) for each in fields],
        )


def problem_response(error: Exception, billing_error: BillingError, **ids: Any) -> Response[str]:
    """Log `error`, and return the response for it. `billing_error` is its classification; `ids` are logged too."""
    problem = Problem.of(billing_error)
    headers: dict[str, str] = {}
    if isinstance(billing_error, Unauthenticated):
        count(AUTHENTICATION_FAILURES)
        headers["WWW-Authenticate"] = 'Bearer realm="usage-billing"'
        if not isinstance(billing_error, errors.CredentialsMissing):
            headers["WWW-Authenticate"] += ', error="invalid_token"'
    if isinstance(billing_error, errors.UnsupportedMediaType):
        headers |= {"Accept-Encoding": "identity"}  # RFC 9110, 12.5.3: the encodings that a request may have
    if isinstance(billing_error, errors.MethodNotAllowed):
        headers["Allow"] = ", ".join(billing_error.allowed)
    if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
        logger.error(
            LogEvent.REQUEST_FAILED, code=billing_error.code, cause=repr(billing_error.__cause__ or error), **ids
        )
    elif isinstance(billing_error, errors.InternalError):
        # An error while recording an event has been logged with its traceback already, but without ids.
        logger.error(LogEvent.INTERNAL_ERROR, exc_info=error if billing_error is not error else None, **ids)
    else:
        logger.warning(LogEvent.REQUEST_REFUSED, code=billing_error.code, status=problem.status, **ids)
    body = dumps(problem.model_dump(exclude_none=True))
    return Response(status_code=problem.status, content_type=PROBLEM_JSON, body=body, headers=headers)


def lambda_response(error: BillingError) -> dict[str, Any]:
    """Return the error response of a Lambda handler without a resolver."""
    response = problem_response(error, error)
    return {"statusCode": response.status_code, "headers": response.headers, "body": response.body}
