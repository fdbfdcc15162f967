"""HTTP for all endpoints: the resolver, the caller, and the one table from errors to problem details (RFC 9457).

A route is built with `app.get(path, allow=ROLES)`; without `allow` it cannot be built. Credentials are checked before
anything else is looked at, then role and scope, then the request's shape. Only `allow=PUBLIC` lets everybody in.
"""

import re
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from json import JSONDecodeError
from typing import Any, TypeVar
from urllib.parse import unquote

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
from aws_lambda_powertools.event_handler import Response as Response  # noqa: PLC0414 - for routes
from aws_lambda_powertools.event_handler.middlewares import BaseMiddlewareHandler, NextMiddleware
from aws_lambda_powertools.event_handler.middlewares.openapi_validation import OpenAPIRequestValidationMiddleware
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError
from aws_lambda_powertools.event_handler.openapi.types import OpenAPIResponse
from pydantic import BaseModel
from pydantic.alias_generators import to_camel

from usage_billing import rejections
from usage_billing.access.callers import PUBLIC, Allowed, Caller, Scope
from usage_billing.access.credentials import authenticate
from usage_billing.field_errors import field_names, invalid, legible, unknown_parameters
from usage_billing.kernel import errors
from usage_billing.kernel.errors import BillingError, FieldError, Unauthenticated
from usage_billing.kernel.exact_json import dumps, loads
from usage_billing.platform.failures import as_billing_error
from usage_billing.platform.observability import AUTHENTICATION_FAILURES, count, logger, observed

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
    errors.InvoiceNotFound: HTTPStatus.NOT_FOUND,
    errors.EventNotFound: HTTPStatus.NOT_FOUND,
    errors.RunNotFound: HTTPStatus.NOT_FOUND,
    errors.EventIdConflict: HTTPStatus.CONFLICT,
    errors.SubscriptionInactive: HTTPStatus.CONFLICT,
    errors.SubscriptionUserFixed: HTTPStatus.CONFLICT,
    errors.PlanCurrencyMismatch: HTTPStatus.CONFLICT,
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
"""How HTTP says what went wrong."""

RETRY_AFTER_SECONDS = 1
UTF8_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii"})
"""Names for what is read right as UTF-8."""

PROBLEM_JSON = "application/problem+json"
JSON = "application/json"

MOST_BYTES = 16 * 1024
"""Of a body, where a route does not say otherwise: several times the largest event there can be."""

ModelT = TypeVar("ModelT", bound=BaseModel)
HandlerT = TypeVar("HandlerT", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Contract:
    """What holds for a route besides its types: who may call, what it refuses for, how large a body it reads."""

    allow: Allowed
    scope: Scope
    raises: tuple[type[BillingError], ...]
    most_bytes: int
    takes_events: bool
    """Whether its body is a usage event or a batch of them, so that every refusal is one of events."""


class Api(APIGatewayHttpResolver):
    """A resolver that knows its caller, speaks exact JSON, and answers every error as a problem."""

    def __init__(self) -> None:
        super().__init__(enable_validation=True)
        self._contracts: dict[Callable[..., Any], Contract] = {}
        # Powertools' own middlewares, with the caller's credentials checked first and without a second validation
        # of answers that are validated models already.
        self._request_validation_middleware = _Gate()  # type: ignore[no-untyped-call]
        self._response_validation_middleware = _Renderer()  # type: ignore[assignment]
        self.exception_handler(Exception)(self._refuse)

    def get(self, rule: str, *, allow: Allowed, **kwargs: Any) -> Callable[[HandlerT], HandlerT]:  # type: ignore[override]
        return self.route(rule, "GET", allow=allow, **kwargs)

    def put(self, rule: str, *, allow: Allowed, **kwargs: Any) -> Callable[[HandlerT], HandlerT]:  # type: ignore[override]
        return self.route(rule, "PUT", allow=allow, **kwargs)

    def post(self, rule: str, *, allow: Allowed, **kwargs: Any) -> Callable[[HandlerT], HandlerT]:  # type: ignore[override]
        return self.route(rule, "POST", allow=allow, **kwargs)

    def route(  # type: ignore[override]
        self,
        rule: str,
        method: str,
        *,
        allow: Allowed,
        scope: Scope | None = None,
        raises: Sequence[type[BillingError]] = (),
        most_bytes: int = MOST_BYTES,
        takes_events: bool = False,
        **kwargs: Any,
    ) -> Callable[[HandlerT], HandlerT]:
        """Build a route for callers of the roles in `allow` whose credentials are good for `scope`.

        Without `scope` GET requires `read`, and everything else `operate`.
        `raises` is what it refuses for besides what every route does; the API's description says so to callers.
        A route that `takes_events` counts what it refuses as rejected events, and logs their ids.
        """
        needed = scope or (Scope.READ if method == "GET" else Scope.OPERATE)
        if allow is not PUBLIC and not allow:
            raise ValueError(f"nobody could call {method} {rule}")

        def built(function: HandlerT) -> HandlerT:
            self._contracts[function] = Contract(allow, needed, tuple(raises), most_bytes, takes_events)
            named = {"operation_id": to_camel(function.__name__)} | kwargs
            return super(Api, self).route(rule, method, **named)(function)

        return built

    def contract(self, function: Callable[..., Any]) -> Contract | None:
        """What holds for the route that `function` answers; None if it answers none."""
        return self._contracts.get(function)

    @property
    def caller(self) -> Caller:
        """Who sent the current request."""
        caller: Caller = self.context["caller"]
        return caller

    def admit(self) -> None:
        """Authenticate the current request's caller and check role and scope for its route; deny by default."""
        contract = self.contract(self.context["_route"].func)
        allow: Allowed = contract.allow if contract else frozenset()
        if allow is PUBLIC:
            return
        caller = authenticate({name.lower(): value for name, value in self.current_event.headers.items()})
        logger.append_keys(caller=caller.sub, role=caller.role)
        self.append_context(caller=caller)  # type: ignore[no-untyped-call]
        if contract is None:
            raise errors.RouteNotFound("No such route.")
        caller.require_role(allow)
        caller.require_scope(contract.scope)

    @staticmethod
    def _compile_regex(rule: str, base_regex: str = "^{}$") -> re.Pattern[str]:
        """An event id at the end of a path may hold any character. API Gateway decodes a path before it hands it on,
        so that it may hold `/` as well."""
        before, event_id, _ = rule.partition("<event_id>")
        pattern = APIGatewayHttpResolver._compile_regex(before, "{}").pattern
        return re.compile(base_regex.format(pattern + "(?P<event_id>.+)" if event_id else pattern))

    def _refuse(self, error: Exception) -> Response[str]:
        known = as_billing_error(error)
        contract = self.contract(self.context["_route"].func) if "_route" in self.context else None
        # Anybody can be refused for credentials at will; that is counted as such.
        if contract is None or not contract.takes_events or isinstance(known, Unauthenticated):
            return _problem(error, known)
        if "body" not in self.context:  # a caller who may not record is refused before the body is looked at
            with suppress(BillingError):
                self._request_validation_middleware._get_body(self)
        body, caller = self.context.get("body"), self.context.get("caller")
        idempotency_key = self.current_event.headers.get("idempotency-key")
        ids = rejections.note_request(known.code, body, caller, idempotency_key)
        return _problem(error, known, event_id=ids.event_id, subscription_id=ids.subscription_id)

    def _convert_matches_into_route_keys(self, match: re.Match[str]) -> dict[str, str]:
        """The path's parameters, decoded: an id may hold characters that a path may not."""
        return {name: unquote(value) for name, value in match.groupdict().items()}

    @cached_property
    def handler(self) -> Callable[[dict[str, Any], Any], dict[str, Any]]:
        """The Lambda handler."""
        return observed(self.resolve)


def answer(body: ModelT, status: HTTPStatus = HTTPStatus.OK) -> "Response[ModelT]":
    """An answer with a status of its own."""
    return Response(status_code=status, content_type=JSON, body=body)


def says(model: type[BaseModel], description: str) -> OpenAPIResponse:
    """An answer for the API's description."""
    return {"description": description, "content": {JSON: {"model": model}}}


class _Gate(OpenAPIRequestValidationMiddleware):
    """Admits the caller, then parses and validates the request."""

    def handler(self, app: Api, next_middleware: NextMiddleware) -> Response[Any]:  # type: ignore[override]
        app.admit()
        dependant = app.context["_route"].dependant
        self._refuse_unknown_parameters(app, {each.alias for each in dependant.query_params})
        try:
            return super().handler(app, next_middleware)
        except RequestValidationError as error:
            known = [name for body in dependant.body_params for name in field_names(body.type_)]
            raise invalid(error.errors(), known) from None

    def _refuse_unknown_parameters(self, app: Api, known: set[str]) -> None:
        unknown = sorted(set(app.current_event.query_string_parameters) - known)
        if unknown:
            raise unknown_parameters(unknown, known)

    def _get_body(self, app: Api) -> Any:  # type: ignore[override]
        self._refuse_other_formats(app)
        self._refuse_large_body(app)
        try:
            text = _text(app)
            body = loads(text) if text else None
        except RecursionError:
            raise errors.NotJson("The body is nested too deeply.") from None
        except JSONDecodeError as error:
            where = f"line {error.lineno}, column {error.colno}"
            raise errors.NotJson(
                f"The body is not valid JSON: {error.msg[:1].lower()}{error.msg[1:]}, {where}."
            ) from None
        except ValueError as error:
            raise errors.NotJson(f"The body is not valid JSON: {legible(str(error))}.") from None
        if body is not None and not isinstance(body, dict):
            raise errors.ValidationFailed(FieldError("body", "invalid", "must be a JSON object"))
        app.append_context(body=body)  # type: ignore[no-untyped-call]
        return body

    def _refuse_other_formats(self, app: Api) -> None:
        """A body is JSON in UTF-8, not compressed. Says which of these it is not."""
        headers = app.current_event.headers
        coding = headers.get("content-encoding", "").strip()
        if coding.lower() not in ("", "identity"):
            raise errors.UnsupportedMediaType(
                f"Send the body uncompressed: Content-Encoding {legible(coding)} is not supported."
            )
        media_type, _, parameters = headers.get("content-type", JSON).partition(";")
        if media_type.strip().lower() != JSON:
            raise errors.UnsupportedMediaType(f"Send the body as {JSON}.")
        charset = re.search(r'(?:^|;)\s*charset\s*=\s*"?([^";]*)', parameters, re.IGNORECASE)
        if charset and charset[1].strip().lower() not in UTF8_CHARSETS:
            raise errors.UnsupportedMediaType(
                f"Send the body in UTF-8: charset={legible(charset[1])} is not supported."
            )

    def _refuse_large_body(self, app: Api) -> None:
        """Looks at the size alone: what is too large is neither decoded nor parsed."""
        body, contract = app.current_event.body or "", app.contract(app.context["_route"].func)
        most = contract.most_bytes if contract else MOST_BYTES
        if app.current_event.is_base64_encoded:
            size = len(body) // 4 * 3 - body.count("=", -2)
        else:
            size = len(body.encode(errors="surrogatepass"))
        if size > most:
            raise errors.BodyTooLarge(f"The body has more than {most} bytes.")


def _text(app: Api) -> str:
    """The body as it was sent.

    API Gateway hands JSON on as text, and what is not UTF-8 in it as U+FFFD: the body is then not what was sent, and
    must not be recorded. A caller who means U+FFFD can still write it as an escape.

    Raises:
        NotJson: the body is not UTF-8.
    """
    body = app.current_event.body or ""
    try:
        sent = b64decode(body, validate=True) if app.current_event.is_base64_encoded else body.encode()
        text = sent.decode()
    except UnicodeError:
        raise errors.NotJson("The body is not valid UTF-8.") from None
    except ValueError:
        raise errors.NotJson("The body is not valid base64.") from None
    if text.startswith("\ufeff"):
        raise errors.NotJson("The body begins with a byte order mark; send it without one.")
    if "\ufffd" in text:
        raise errors.NotJson(
            "The body is not valid UTF-8: is it compressed? The character U+FFFD itself must be written as \\ufffd."
        )
    return text


class _Renderer(BaseMiddlewareHandler[Api]):
    """Writes a route's model as exact JSON; what is text already stays as it is."""

    def handler(self, app: Api, next_middleware: NextMiddleware) -> Response[Any]:
        response = next_middleware(app)
        if isinstance(response.body, BaseModel):
            response.body = dumps(response.body.model_dump(by_alias=True))
        return response


class FieldProblem(BaseModel):
    """What is wrong with one field of a request."""

    field: str
    code: str
    message: str


class Problem(BaseModel):
    """Problem details (RFC 9457). `code` is stable; `errors` names the fields that are wrong, or that conflict."""

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


def _problem(error: Exception, known: BillingError, **ids: Any) -> Response[str]:
    """The one place where an error, which `known` says in billing words, becomes an answer. `ids` go into the log."""
    problem = Problem.of(known)
    headers: dict[str, str] = {}
    if isinstance(known, Unauthenticated):
        count(AUTHENTICATION_FAILURES)
        headers["WWW-Authenticate"] = 'Bearer realm="usage-billing"'
        if not isinstance(known, errors.CredentialsMissing):
            headers["WWW-Authenticate"] += ', error="invalid_token"'
    if isinstance(known, errors.UnsupportedMediaType):
        headers |= {"Accept-Encoding": "identity"}  # RFC 9110, 12.5.3: what a request may be encoded in
    if isinstance(known, errors.MethodNotAllowed):
        headers["Allow"] = ", ".join(known.allowed)
    if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
        logger.error("request failed", code=known.code, cause=repr(known.__cause__ or error), **ids)
    elif isinstance(known, errors.InternalError):
        # What failed while an event was recorded has its line already, without ids.
        logger.error("internal error", exc_info=error if known is not error else None, **ids)
    else:
        logger.warning("request refused", code=known.code, status=problem.status, **ids)
    return _answer_problem(problem, headers)


def refusal(error: BillingError) -> dict[str, Any]:
    """A Lambda handler's answer to what reached no route."""
    problem = _problem(error, error)
    return {"statusCode": problem.status_code, "headers": problem.headers, "body": problem.body}


def _answer_problem(problem: Problem, headers: Mapping[str, str] | None = None) -> Response[str]:
    body = dumps(problem.model_dump(exclude_none=True))
    return Response(status_code=problem.status, content_type=PROBLEM_JSON, body=body, headers=dict(headers or {}))
