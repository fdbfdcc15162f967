"""HTTP for all endpoints: routes, authentication, validation and exact JSON.

A route is defined with `app.get(path, allow=ROLES)`, and cannot be defined without `allow`. Credentials are checked
first, then role and scope, then the request itself. Only `allow=PUBLIC` admits everybody.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
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

from usage_billing.access.callers import PUBLIC, Allowed, Caller, Scope
from usage_billing.access.credentials import authenticate
from usage_billing.kernel import errors
from usage_billing.kernel.errors import BillingError, Unauthenticated
from usage_billing.kernel.exact_json import dumps
from usage_billing.platform.failures import as_billing_error
from usage_billing.platform.observability import logger, observed
from usage_billing.web.bodies import JSON, MAX_BYTES, json_body
from usage_billing.web.field_errors import field_names, unknown_parameters, validation_failed
from usage_billing.web.problems import problem_response

ModelT = TypeVar("ModelT", bound=BaseModel)
HandlerT = TypeVar("HandlerT", bound=Callable[..., Any])


OnRefusal = Callable[[str, Any, Caller | None, str | None], Mapping[str, Any]]
"""A function of a refused request: its error code, its JSON body (None if it was not read), its caller and its
Idempotency-Key. It returns additional keys for the request's log line."""


@dataclass(frozen=True, slots=True)
class Contract:
    """The rules of a route besides its types: its callers, its errors, and the maximum size of its body."""

    allow: Allowed
    scope: Scope
    raises: tuple[type[BillingError], ...]
    max_bytes: int
    on_refusal: OnRefusal | None
    """Called with each refused request, except those without valid credentials, which anybody can send at any time."""


class Api(APIGatewayHttpResolver):
    """A resolver that authenticates callers, reads and writes exact JSON, and turns errors into problem details."""

    def __init__(self) -> None:
        super().__init__(enable_validation=True)
        self._contracts: dict[Callable[..., Any], Contract] = {}
        # These replace Powertools' own middlewares: credentials are checked before the request is validated, and
        # responses, which are validated models already, are not validated again.
        self._request_validation_middleware = _RequestMiddleware()  # type: ignore[no-untyped-call]
        self._response_validation_middleware = _ResponseMiddleware()  # type: ignore[assignment]
        self.exception_handler(Exception)(self._error_response)

    def get(self, rule: str, *, allow: Allowed, **kwargs: Any) -> Callable[[HandlerT], HandlerT]:  # type: ignore[override]
        return self.route(rule, "GET", allow=allow, **kwargs)

    def put(self, rule: str, *, allow: Allowed, **kwargs: Any) -> Callable[[HandlerT], HandlerT]:  # type: ignore[override]
        return self.route(rule, "PUT", allow=allow, **kwargs)

    def post(self, rule: str, *, allow: Allowed, **kwargs: Any) -> Callable[[HandlerT], HandlerT]:  # type: ignore[override]
        return self.route(rule, "POST", allow=allow, **kwargs)

    def delete(self, rule: str, *, allow: Allowed, **kwargs: Any) -> Callable[[HandlerT], HandlerT]:  # type: ignore[override]
        return self.route(rule, "DELETE", allow=allow, **kwargs)

    def route(  # type: ignore[override]
        self,
        rule: str,
        method: str,
        *,
        allow: Allowed,
        scope: Scope | None = None,
        raises: Sequence[type[BillingError]] = (),
        max_bytes: int = MAX_BYTES,
        on_refusal: OnRefusal | None = None,
        **kwargs: Any,
    ) -> Callable[[HandlerT], HandlerT]:
        """Define a route for callers whose role is in `allow` and whose credentials include `scope`.

        Without `scope`, GET requires `read`, and any other method `operate`.
        `raises` lists the errors of this route in addition to those of every route; they appear in the API reference.
        """
        required_scope = scope or (Scope.READ if method == "GET" else Scope.OPERATE)
        if allow is not PUBLIC and not allow:
            raise ValueError(f"nobody could call {method} {rule}")

        def register(function: HandlerT) -> HandlerT:
            self._contracts[function] = Contract(allow, required_scope, tuple(raises), max_bytes, on_refusal)
            options = {"operation_id": to_camel(function.__name__)} | kwargs
            return super(Api, self).route(rule, method, **options)(function)

        return register

    def contract(self, function: Callable[..., Any]) -> Contract | None:
        """Return the contract of the route that `function` handles; None if it handles none."""
        return self._contracts.get(function)

    @property
    def caller(self) -> Caller:
        """The caller of the current request."""
        caller: Caller = self.context["caller"]
        return caller

    def authorize(self) -> None:
        """Authenticate the caller of the current request, and check role and scope. Without a contract, refuse."""
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
        """Let an event id at the end of a path contain any character, even `/`: API Gateway decodes a path before it
        passes it on."""
        before, event_id, _ = rule.partition("<event_id>")
        pattern = APIGatewayHttpResolver._compile_regex(before, "{}").pattern
        return re.compile(base_regex.format(pattern + "(?P<event_id>.+)" if event_id else pattern))

    def _error_response(self, error: Exception) -> Response[str]:
        billing_error = as_billing_error(error)
        contract = self.contract(self.context["_route"].func) if "_route" in self.context else None
        if contract is None or contract.on_refusal is None or isinstance(billing_error, Unauthenticated):
            return problem_response(error, billing_error)
        if "body" not in self.context:  # a caller who may not record is refused before the body is read
            with suppress(BillingError):
                self._request_validation_middleware._get_body(self)
        body, caller = self.context.get("body"), self.context.get("caller")
        idempotency_key = self.current_event.headers.get("idempotency-key")
        return problem_response(
            error, billing_error, **contract.on_refusal(billing_error.code, body, caller, idempotency_key)
        )

    def _convert_matches_into_route_keys(self, match: re.Match[str]) -> dict[str, str]:
        """Return the decoded path parameters: an id may contain characters that a path may not."""
        return {name: unquote(value) for name, value in match.groupdict().items()}

    @cached_property
    def handler(self) -> Callable[[dict[str, Any], Any], dict[str, Any]]:
        """The Lambda handler."""
        return observed(self.resolve)


def respond(body: ModelT, status: HTTPStatus = HTTPStatus.OK) -> "Response[ModelT]":
    """Return a response, for a route whose status is not always 200."""
    return Response(status_code=status, content_type=JSON, body=body)


def response_doc(model: type[BaseModel], description: str) -> OpenAPIResponse:
    """Describe a response for the API reference."""
    return {"description": description, "content": {JSON: {"model": model}}}


class _RequestMiddleware(OpenAPIRequestValidationMiddleware):
    """Authorizes the caller, then parses and validates the request."""

    def handler(self, app: Api, next_middleware: NextMiddleware) -> Response[Any]:  # type: ignore[override]
        app.authorize()
        dependant = app.context["_route"].dependant
        self._refuse_unknown_parameters(app, {each.alias for each in dependant.query_params})
        try:
            return super().handler(app, next_middleware)
        except RequestValidationError as error:
            known = [name for body in dependant.body_params for name in field_names(body.type_)]
            raise validation_failed(error.errors(), known) from None

    def _refuse_unknown_parameters(self, app: Api, known: set[str]) -> None:
        unknown = sorted(set(app.current_event.query_string_parameters) - known)
        if unknown:
            raise unknown_parameters(unknown, known)

    def _get_body(self, app: Api) -> Any:  # type: ignore[override]
        contract = app.contract(app.context["_route"].func)
        body = json_body(app.current_event, contract.max_bytes if contract else MAX_BYTES)
        app.append_context(body=body)  # type: ignore[no-untyped-call]
        return body


class _ResponseMiddleware(BaseMiddlewareHandler[Api]):
    """Writes a route's model as exact JSON, and leaves text as it is."""

    def handler(self, app: Api, next_middleware: NextMiddleware) -> Response[Any]:
        response = next_middleware(app)
        if isinstance(response.body, BaseModel):
            response.body = dumps(response.body.model_dump(by_alias=True))
        return response
