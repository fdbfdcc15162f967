"""What API Gateway itself does for the deployed stack: which route takes a request, and how many it takes."""

import gzip
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


def test_the_stage_is_throttled(local_cloud: LocalCloud) -> None:
    """MiniStack throttles no HTTP API, so only the settings can be looked at. On AWS what is too much gets 429."""
    formation = local_cloud.session.client("cloudformation", endpoint_url=local_cloud.url)
    template: Any = formation.get_template(StackName=STACK_NAME, TemplateStage="Processed")["TemplateBody"]
    [stage] = [each for each in template["Resources"].values() if each["Type"] == "AWS::ApiGatewayV2::Stage"]
    settings = stage["Properties"]["DefaultRouteSettings"]
    assert settings["ThrottlingRateLimit"] == {"Ref": "ApiRateLimit"}
    assert settings["ThrottlingBurstLimit"] == {"Ref": "ApiBurstLimit"}
    assert stage["Properties"]["RouteSettings"]["$default"]["ThrottlingRateLimit"] == 20
