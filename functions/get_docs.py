"""GET /docs: the API reference as a web page."""

from functools import cache

from usage_billing.access.callers import PUBLIC
from usage_billing.apidocs import page
from usage_billing.apidocs.openapi import document
from usage_billing.web.resolver import Api, Response

HTML = "text/html; charset=utf-8"

app = Api()


@app.get(
    "/docs",
    allow=PUBLIC,
    responses={200: {"description": "The page", "content": {HTML: {"schema": {"type": "string"}}}}},
)
def get_docs() -> Response[str]:
    return Response(200, HTML, _page(), headers=page.HEADERS | {"Cache-Control": "public, max-age=300"})


@cache
def _page() -> str:
    return page.render(document())


handler = app.handler
