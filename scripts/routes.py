"""Routes of the local HTTP API, created from the template that SAM has transformed.

On AWS, CloudFormation creates the routes from the OpenAPI `Body` of the API. MiniStack does not, so this module creates
them from the same `Body`. There is no second list of routes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_apigatewayv2 import ApiGatewayV2Client

ANY_METHOD = "x-amazon-apigateway-any-method"
INTEGRATION = "x-amazon-apigateway-integration"


def routes_in(template: Mapping[str, Any], api: str) -> dict[str, str]:
    """Route key (`GET /api/...`) -> logical id of the function or alias that handles it."""
    paths: Mapping[str, Mapping[str, Any]] = template["Resources"][api]["Properties"]["Body"]["paths"]
    return {
        _route_key(method, path): _function_of(operation[INTEGRATION]["uri"])
        for path, operations in paths.items()
        for method, operation in operations.items()
        if INTEGRATION in operation
    }


def sync_routes(client: ApiGatewayV2Client, api_id: str, wanted: Mapping[str, str]) -> None:
    """Create, update and delete routes until the API has exactly `wanted` (route key -> function ARN)."""
    integrations = _integrations(client, api_id, set(wanted.values()))
    present = {route["RouteKey"]: route for route in _routes(client, api_id)}
    for key in present.keys() - wanted.keys():
        client.delete_route(ApiId=api_id, RouteId=present[key]["RouteId"])
    for key, arn in wanted.items():
        target = f"integrations/{integrations[arn]}"
        if key not in present:
            client.create_route(ApiId=api_id, RouteKey=key, Target=target)
        elif present[key].get("Target") != target:
            client.update_route(ApiId=api_id, RouteId=present[key]["RouteId"], Target=target)


def _route_key(method: str, path: str) -> str:
    if path.removeprefix("/") == "$default":  # SAM writes it without a slash, other tools with one
        return "$default"
    return f"{'ANY' if method == ANY_METHOD else method.upper()} {path}"


def _function_of(uri: Mapping[str, str]) -> str:
    found = re.search(r"\$\{(\w+)(\.Arn)?\}/invocations", uri["Fn::Sub"])
    if not found:
        raise ValueError(f"Not the URI of a function: {uri}")
    return found[1]


def _integrations(client: ApiGatewayV2Client, api_id: str, arns: set[str]) -> dict[str, str]:
    """Return function ARN -> integration id, and create the integrations that are missing."""
    present = client.get_integrations(ApiId=api_id, MaxResults="500")["Items"]
    ids = {item["IntegrationUri"]: item["IntegrationId"] for item in present}
    for arn in arns - ids.keys():
        ids[arn] = client.create_integration(
            ApiId=api_id,
            IntegrationType="AWS_PROXY",
            IntegrationUri=arn,
            PayloadFormatVersion="2.0",
        )["IntegrationId"]
    return ids


def _routes(client: ApiGatewayV2Client, api_id: str) -> list[Any]:
    return list(client.get_routes(ApiId=api_id, MaxResults="500")["Items"])
