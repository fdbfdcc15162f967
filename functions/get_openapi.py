"""GET /openapi.json: the OpenAPI 3.1 description of this API."""

from functools import cache

from usage_billing.access.callers import PUBLIC
from usage_billing.apidocs.openapi import document
from usage_billing.kernel.exact_json import dumps
from usage_billing.web.bodies import JSON
from usage_billing.web.resolver import Api, Response

app = Api()


@app.get(
    "/openapi.json",
    allow=PUBLIC,
    responses={200: {"description": "The document", "content": {JSON: {"schema": {"type": "object"}}}}},
)
def get_openapi() -> Response[str]:
    return Response(200, JSON, _text(), headers={"Cache-Control": "public, max-age=300"})


@cache
def _text() -> str:
    return dumps(document())


handler = app.handler
