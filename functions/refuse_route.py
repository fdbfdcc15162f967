"""The $default route: answer requests that match no other route with a problem, like every other error."""

from typing import Any

from usage_billing.apidocs.openapi import methods
from usage_billing.kernel.errors import MethodNotAllowed, RouteNotFound
from usage_billing.platform.observability import observed
from usage_billing.web.problems import lambda_response


@observed
def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Return 405 with the allowed methods if the path exists, else 404. Both are public in /openapi.json."""
    method, allowed = event["requestContext"]["http"]["method"], methods(event["rawPath"])
    if allowed:
        return lambda_response(MethodNotAllowed(f"{method} is not allowed here; use {' or '.join(allowed)}.", allowed))
    return lambda_response(RouteNotFound("No such route."))
