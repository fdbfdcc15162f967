"""HTTP for all endpoints: the resolver, the caller, and the one table from errors to problem details (RFC 9457).

A route is built with `app.get(path, allow=ROLES)`; without `allow` it cannot be built. Credentials are checked before
anything else is looked at, then the role, then the request's shape.
"""

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import unquote

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.middlewares import BaseMiddlewareHandler, NextMiddleware
from aws_lambda_powertools.event_handler.middlewares.openapi_validation import OpenAPIRequestValidationMiddleware
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel
from pydantic.alias_generators import to_camel
from pynamodb.exceptions import PynamoDBException

from usage_billing import errors
from usage_billing.access import Caller, Role, authenticate
from usage_billing.errors import BillingError, FieldError, Unauthenticated
from usage_billing.exact_json import dumps, loads
from usage_billing.observability import AUTHENTICATION_FAILURES, DATABASE_FAILURES, count, logger, observed

STATUS: Mapping[type[BillingError], HTTPStatus] = {
    errors.NotJson: HTTPStatus.BAD_REQUEST,
    errors.CredentialsMissing: HTTPStatus.UNAUTHORIZED,
    errors.CredentialsInvalid: HTTPStatus.UNAUTHORIZED,
    errors.CredentialsExpired: HTTPStatus.UNAUTHORIZED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.SubscriptionNotOwned: HTTPStatus.FORBIDDEN,
    errors.RouteNotFound: HTTPStatus.NOT_FOUND,
    errors.SubscriptionNotFound: HTTPStatus.NOT_FOUND,
    errors.QuotaNotFound: HTTPStatus.NOT_FOUND,
    errors.InvoiceNotFound: HTTPStatus.NOT_FOUND,
    errors.EventIdConflict: HTTPStatus.CONFLICT,
    errors.SubscriptionInactive: HTTPStatus.CONFLICT,
    errors.SubscriptionUserFixed: HTTPStatus.CONFLICT,
    errors.PlanCurrencyMismatch: HTTPStatus.CONFLICT,
    errors.InvoiceNotDraft: HTTPStatus.CONFLICT,
    errors.InvoiceCurrencyMismatch: HTTPStatus.CONFLICT,
    errors.UnsupportedMediaType: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.ValidationFailed: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.LedgerBusy: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DatabaseUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.IdentityProviderUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""How HTTP says what went wrong."""

INTERNAL_ERROR = "internal_error"
RETRY_AFTER_SECONDS = 1
PROBLEM_JSON = "application/problem+json"
JSON = "application/json"
_OUR_FAULT = {"ValidationException", "SerializationException"}

ModelT = TypeVar("ModelT", bound=BaseModel)
HandlerT = TypeVar("HandlerT", bound=Callable[..., Any])


class Api(APIGatewayHttpResolver):
    """A resolver that knows its caller, speaks exact JSON, and answers every error as a problem."""

    def __init__(self) -> None:
        super().__init__(enable_validation=True)
        self._allowed: dict[Callable[..., Any], frozenset[Role]] = {}
        # Powertools' own middlewares, with the caller's credentials checked first and without a second validation
        # of answers that are validated models already.
        self._request_validation_middleware = _Gate()  # type: ignore[no-untyped-call]
        self._response_validation_middleware = _Renderer()  # type: ignore[assignment]
        self.exception_handler(Exception)(_problem)

    def get(self, rule: str, *, allow: frozenset[Role], **kwargs: Any) -> Callable[[HandlerT], HandlerT]:  # type: ignore[override]
        return self.route(rule, "GET", allow=allow, **kwargs)

    def put(self, rule: str, *, allow: frozenset[Role], **kwargs: Any) -> Callable[[HandlerT], HandlerT]:  # type: ignore[override]
        return self.route(rule, "PUT", allow=allow, **kwargs)

    def post(self, rule: str, *, allow: frozenset[Role], **kwargs: Any) -> Callable[[HandlerT], HandlerT]:  # type: ignore[override]
        return self.route(rule, "POST", allow=allow, **kwargs)

    def route(self, rule: str, method: str, *, allow: frozenset[Role], **kwargs: Any) -> Callable[[HandlerT], HandlerT]:  # type: ignore[override]
        """Build a route for callers of the roles in `allow`."""
        register = super().route(rule, method, **kwargs)

        def built(function: HandlerT) -> HandlerT:
            self._allowed[function] = allow
            return register(function)

        return built

    @property
    def caller(self) -> Caller:
        """Who sent the current request."""
        caller: Caller = self.context["caller"]
        return caller

    def admit(self) -> None:
        """Authenticate the current request's caller and check their role for its route; deny by default."""
        caller = authenticate({name.lower(): value for name, value in self.current_event.headers.items()})
        logger.append_keys(caller=caller.sub, role=caller.role)
        route = self.context["_route"]
        if route not in self._static_routes + self._dynamic_routes:
            raise errors.RouteNotFound("There is nothing here.")
        caller.require_role(self._allowed.get(route.func, frozenset()))
        self.append_context(caller=caller)  # type: ignore[no-untyped-call]

    def _convert_matches_into_route_keys(self, match: re.Match[str]) -> dict[str, str]:
        """The path's parameters, decoded: an id may hold characters that a path may not."""
        return {name: unquote(value) for name, value in match.groupdict().items()}

    @property
    def handler(self) -> Callable[[dict[str, Any], Any], dict[str, Any]]:
        """The Lambda handler."""
        return observed(self.resolve)


def answer(body: ModelT, status: HTTPStatus = HTTPStatus.OK) -> "Response[ModelT]":
    """An answer with a status of its own."""
    return Response(status_code=status, content_type=JSON, body=body)


class _Gate(OpenAPIRequestValidationMiddleware):
    """Admits the caller, then parses and validates the request."""

    def handler(self, app: Api, next_middleware: NextMiddleware) -> Response[Any]:  # type: ignore[override]
        app.admit()
        self._refuse_unknown_parameters(app)
        return super().handler(app, next_middleware)

    def _refuse_unknown_parameters(self, app: Api) -> None:
        known = {each.alias for each in app.context["_route"].dependant.query_params}
        unknown = sorted(set(app.current_event.query_string_parameters) - known)
        if unknown:
            message = "is not a parameter of this endpoint"
            raise errors.ValidationFailed(*(FieldError(_legible(name), "extra_forbidden", message) for name in unknown))

    def _get_body(self, app: Api) -> Any:  # type: ignore[override]
        media_type = app.current_event.headers.get("content-type", JSON).partition(";")[0].strip().lower()
        if media_type != JSON:
            raise errors.UnsupportedMediaType(f"Send the body as {JSON}.")
        try:
            text = app.current_event.decoded_body
            body = loads(text) if text else None
        except RecursionError:
            raise errors.NotJson("The body is nested too deeply.") from None
        except ValueError as error:
            raise errors.NotJson(f"The body is not JSON that can be taken: {_legible(str(error))}.") from None
        if body is not None and not isinstance(body, dict):
            raise errors.ValidationFailed(FieldError("body", "dict_type", "must be a JSON object"))
        return body


class _Renderer(BaseMiddlewareHandler[Api]):
    """Writes a route's model as exact JSON."""

    def handler(self, app: Api, next_middleware: NextMiddleware) -> Response[Any]:
        response = next_middleware(app)
        model: Any = response.body
        response.body = dumps(model.model_dump(by_alias=True))
        return response


def _problem(error: Exception) -> Response[str]:
    """The one place where an error becomes an answer."""
    known = _in_billing_words(error)
    if known is None:
        logger.exception("internal error")
        return _answer_problem(HTTPStatus.INTERNAL_SERVER_ERROR, INTERNAL_ERROR, "Something failed on our side.")
    status = STATUS[type(known)]
    headers: dict[str, str] = {}
    extra: dict[str, Any] = {}
    if isinstance(known, Unauthenticated):
        count(AUTHENTICATION_FAILURES)
        headers["WWW-Authenticate"] = 'Bearer realm="usage-billing"'
        if not isinstance(known, errors.CredentialsMissing):
            headers["WWW-Authenticate"] += ', error="invalid_token"'
    if isinstance(known, errors.DatabaseUnavailable):
        count(DATABASE_FAILURES)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
        logger.error("request failed", code=known.code, cause=repr(error.__cause__ or error))
    else:
        logger.warning("request refused", code=known.code, status=status)
    if isinstance(known, errors.ValidationFailed):
        extra["errors"] = [{"field": e.field, "code": e.code, "message": e.message} for e in known.fields]
    return _answer_problem(status, known.code, known.message, headers, extra)


def _in_billing_words(error: Exception) -> BillingError | None:
    if isinstance(error, BillingError):
        return error
    if isinstance(error, RequestValidationError):
        return errors.ValidationFailed(*map(_field_error, error.errors()))
    # Not `cause_response_code`: it raises for a time-out, whose `response` is None.
    answer = getattr(getattr(error, "cause", error), "response", None) or {}
    if answer.get("Error", {}).get("Code") in _OUR_FAULT:
        return None
    if isinstance(error, PynamoDBException | BotoCoreError | ClientError):
        return errors.DatabaseUnavailable("The database did not answer; send the same request again.")
    return None


def _field_error(fault: Mapping[str, Any]) -> FieldError:
    where, *location = map(str, fault["loc"])
    # A path's parameters have Python names in the routes; everything else is named as the caller named it.
    field = ".".join(map(to_camel, location) if where == "path" else location) or where
    message = str(fault["msg"]).removeprefix("Value error, ")
    return FieldError(_legible(field), str(fault["type"]), _legible(message[:1].lower() + message[1:]))


def _legible(text: str) -> str:
    """`text` short enough and clean enough to be quoted back."""
    return text[:200].encode("ascii", "backslashreplace").decode()


def _answer_problem(
    status: HTTPStatus,
    code: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Response[str]:
    body = {"type": "about:blank", "title": status.phrase, "status": status.value, "code": code, "detail": detail}
    return Response(
        status_code=status, content_type=PROBLEM_JSON, body=dumps(body | dict(extra or {})), headers=dict(headers or {})
    )
