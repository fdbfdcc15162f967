"""What API Gateway itself does for the deployed stack: which route takes a request, and how many it takes."""

import gzip
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from scripts.local_cloud import LocalCloud
from scripts.local_stack import STACK_NAME


@pytest.fixture
def anybody(stack: dict[str, Any]) -> httpx.Client:
    return httpx.Client(base_url=stack["apiUrl"], timeout=60, trust_env=False)


@pytest.mark.parametrize("path", ["/api", "/api/nothing", "/api/usage/record/", "/favicon.ico"])
def test_an_unknown_path_is_a_problem_too(anybody: httpx.Client, path: str) -> None:
    answer = anybody.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert answer.headers["Content-Type"] == "application/problem+json"


# Not OPTIONS: MiniStack answers every preflight by itself. On AWS an API without CORS settings passes it on.
@pytest.mark.parametrize("method", ["DELETE", "PATCH", "HEAD", "POST"])
def test_an_unknown_method_is_told_the_others(anybody: httpx.Client, method: str) -> None:
    answer = anybody.request(method, "/api/subscriptions/sub-1")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, PUT")


def test_the_root_takes_get_and_nothing_else(anybody: httpx.Client) -> None:
    answer = anybody.post("/")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET")


def test_the_description_is_served_to_everybody(anybody: httpx.Client) -> None:
    index = anybody.get("/").json()
    document = anybody.get(index["openapi"]).json()
    assert document["info"]["version"] == index["version"]
    page = anybody.get(index["docs"])
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert all(f">{path}<" in page.text for path in document["paths"])


@pytest.mark.parametrize("type_", ["application/json", "application/json; charset=utf-8", ""])
@pytest.mark.parametrize("raw", [b'{"userId": "\xff"}', b'{"userId": "\xf0\x9f\x92"}'], ids=["no UTF-8", "cut off"])
def test_bytes_that_are_not_utf_8_are_not_recorded_as_others(http: httpx.Client, raw: bytes, type_: str) -> None:
    answer = http.post("/api/usage/record", content=raw, headers={"content-type": type_} if type_ else {})
    assert (answer.status_code, answer.json()["code"]) == (400, "not_json"), answer.text
    assert answer.json()["detail"].startswith("The body is not valid UTF-8")


def test_a_compressed_body_is_refused(http: httpx.Client) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    answer = http.post("/api/usage/record", content=gzip.compress(b"{}"), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert "gzip" in answer.json()["detail"]


PAGE, ANOTHER_PAGE = "https://app.example.com", "https://elsewhere.example.com"


@pytest.fixture
def open_to_a_page(local_cloud: LocalCloud) -> Iterator[None]:
    """The API with AllowedOrigins=PAGE. MiniStack does not read the `Body` in which SAM puts the settings."""
    formation = local_cloud.session.client("cloudformation", endpoint_url=local_cloud.url)
    template: Any = formation.get_template(StackName=STACK_NAME, TemplateStage="Processed")["TemplateBody"]
    body = template["Resources"]["Api"]["Properties"]["Body"]
    settings = body["x-amazon-apigateway-cors"]["Fn::If"][1] | {"allowOrigins": [PAGE]}
    gateway: Any = local_cloud.session.client("apigatewayv2", endpoint_url=local_cloud.url)
    [api] = [each["ApiId"] for each in gateway.get_apis()["Items"]]
    gateway.update_api(ApiId=api, CorsConfiguration={name[0].upper() + name[1:]: v for name, v in settings.items()})
    yield
    gateway.delete_cors_configuration(ApiId=api)


def test_a_page_of_an_allowed_origin_may_send_what_the_api_takes(anybody: httpx.Client, open_to_a_page: None) -> None:
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


def test_a_page_sees_errors_and_what_they_say_in_headers(anybody: httpx.Client, open_to_a_page: None) -> None:
    answer = anybody.get("/api/usage/user/user-1", headers={"Origin": PAGE})
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (401, PAGE)
    exposed = {each.strip() for each in answer.headers["Access-Control-Expose-Headers"].split(",")}
    assert exposed >= {"retry-after", "www-authenticate", "allow"}
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert "Access-Control-Allow-Origin" not in anybody.get("/openapi.json", headers={"Origin": ANOTHER_PAGE}).headers


def test_no_page_may_call_by_default(anybody: httpx.Client) -> None:
    assert "Access-Control-Allow-Origin" not in anybody.get("/openapi.json", headers={"Origin": PAGE}).headers


def test_the_stage_is_throttled(local_cloud: LocalCloud) -> None:
    """MiniStack throttles no HTTP API, so only the settings can be looked at. On AWS what is too much gets 429."""
    formation = local_cloud.session.client("cloudformation", endpoint_url=local_cloud.url)
    template: Any = formation.get_template(StackName=STACK_NAME, TemplateStage="Processed")["TemplateBody"]
    [stage] = [each for each in template["Resources"].values() if each["Type"] == "AWS::ApiGatewayV2::Stage"]
    settings = stage["Properties"]["DefaultRouteSettings"]
    assert settings["ThrottlingRateLimit"] == {"Ref": "ApiRateLimit"}
    assert settings["ThrottlingBurstLimit"] == {"Ref": "ApiBurstLimit"}
    assert stage["Properties"]["RouteSettings"]["$default"]["ThrottlingRateLimit"] == 20
