"""API Gateway in front of the deployed stack: unknown routes, bodies that are not text, CORS, throttling."""

import gzip
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from scripts.local_cloud import LocalCloud
from tests.e2e.stack import aws_client, processed_template


@pytest.fixture
def anybody(stack: dict[str, Any]) -> httpx.Client:
    return httpx.Client(base_url=stack["apiUrl"], timeout=60, trust_env=False)


@pytest.mark.parametrize("path", ["/api", "/api/nothing", "/api/usage/record/", "/favicon.ico"])
def test_an_unknown_path_answers_404_with_a_problem(anybody: httpx.Client, path: str) -> None:
    answer = anybody.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert answer.headers["Content-Type"] == "application/problem+json"


# Not OPTIONS: MiniStack answers every preflight by itself. On AWS, an API without CORS settings passes it on.
@pytest.mark.parametrize("method", ["DELETE", "PATCH", "HEAD", "POST"])
def test_an_unknown_method_answers_405_and_names_the_allowed_methods(anybody: httpx.Client, method: str) -> None:
    answer = anybody.request(method, "/api/subscriptions/sub-1")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, PUT")


def test_the_root_allows_only_get(anybody: httpx.Client) -> None:
    answer = anybody.post("/")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET")


def test_anybody_can_read_the_openapi_document_and_its_page(anybody: httpx.Client) -> None:
    index = anybody.get("/").json()
    document = anybody.get(index["openapi"]).json()
    assert document["info"]["version"] == index["version"]
    page = anybody.get(index["docs"])
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert all(f">{path}<" in page.text for path in document["paths"])


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", ""])
@pytest.mark.parametrize(
    "raw", [b'{"userId": "\xff"}', b'{"userId": "\xf0\x9f\x92"}'], ids=["invalid byte", "truncated character"]
)
def test_a_body_that_is_not_utf_8_is_refused_and_not_decoded_to_other_characters(
    http: httpx.Client, raw: bytes, content_type: str
) -> None:
    answer = http.post("/api/usage/record", content=raw, headers={"content-type": content_type} if content_type else {})
    assert (answer.status_code, answer.json()["code"]) == (400, "not_json"), answer.text
    assert answer.json()["detail"].startswith("The body is not valid UTF-8")


def test_a_compressed_body_is_refused(http: httpx.Client) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    answer = http.post("/api/usage/record", content=gzip.compress(b"{}"), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert "gzip" in answer.json()["detail"]


PAGE, ANOTHER_PAGE = "https://app.example.com", "https://elsewhere.example.com"


@pytest.fixture
def page_allowed(local_cloud: LocalCloud) -> Iterator[None]:
    """The API as deployed with AllowedOrigins=PAGE.

    MiniStack ignores the `Body` in which SAM puts these settings, so they are applied by hand.
    """
    body = processed_template(local_cloud)["Resources"]["Api"]["Properties"]["Body"]
    settings = body["x-amazon-apigateway-cors"]["Fn::If"][1] | {"allowOrigins": [PAGE]}
    gateway = aws_client(local_cloud, "apigatewayv2")
    [api] = [each["ApiId"] for each in gateway.get_apis()["Items"]]
    gateway.update_api(ApiId=api, CorsConfiguration={name[0].upper() + name[1:]: v for name, v in settings.items()})
    yield
    gateway.delete_cors_configuration(ApiId=api)


def test_a_page_of_an_allowed_origin_may_send_the_headers_of_the_api(anybody: httpx.Client, page_allowed: None) -> None:
    headers = "authorization,content-type,idempotency-key,prefer,x-api-key"
    asks = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": headers}
    preflight = anybody.options("/api/usage/quotas/business/report", headers=asks | {"Origin": PAGE})
    assert preflight.is_success
    assert preflight.headers["Access-Control-Allow-Origin"] == PAGE
    assert {each.strip() for each in preflight.headers["Access-Control-Allow-Headers"].split(",")} == {
        *headers.split(",")
    }
    refused = anybody.options("/api/usage/quotas/business/report", headers=asks | {"Origin": ANOTHER_PAGE})
    assert "Access-Control-Allow-Origin" not in refused.headers


def test_a_page_can_read_errors_and_their_headers(anybody: httpx.Client, page_allowed: None) -> None:
    answer = anybody.get("/api/usage/user/user-1", headers={"Origin": PAGE})
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (401, PAGE)
    exposed = {each.strip() for each in answer.headers["Access-Control-Expose-Headers"].split(",")}
    assert exposed >= {"retry-after", "www-authenticate", "allow"}
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert "Access-Control-Allow-Origin" not in anybody.get("/openapi.json", headers={"Origin": ANOTHER_PAGE}).headers


def test_by_default_no_page_may_call_the_api(anybody: httpx.Client) -> None:
    assert "Access-Control-Allow-Origin" not in anybody.get("/openapi.json", headers={"Origin": PAGE}).headers


def test_the_stage_and_its_default_route_are_throttled(local_cloud: LocalCloud) -> None:
    """MiniStack throttles no HTTP API, so only the settings can be checked. On AWS, excess requests get 429."""
    resources = processed_template(local_cloud)["Resources"].values()
    [stage] = [each for each in resources if each["Type"] == "AWS::ApiGatewayV2::Stage"]
    settings = stage["Properties"]["DefaultRouteSettings"]
    assert settings["ThrottlingRateLimit"] == {"Ref": "ApiRateLimit"}
    assert settings["ThrottlingBurstLimit"] == {"Ref": "ApiBurstLimit"}
    assert stage["Properties"]["RouteSettings"]["$default"]["ThrottlingRateLimit"] == 20
