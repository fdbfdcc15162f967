"""GET /: this API's name and version, and where it is described."""

from functools import cache

from usage_billing.access.callers import PUBLIC
from usage_billing.apidocs.api import Index
from usage_billing.kernel.product import NAME, VERSION
from usage_billing.web.bodies import JSON
from usage_billing.web.resolver import Api, Response, response_doc

app = Api()


@app.get("/", allow=PUBLIC, responses={200: response_doc(Index, "What this is, with links")})
def get_index() -> Response[Index]:
    return Response(200, JSON, _index(), headers={"Cache-Control": "public, max-age=300"})


@cache
def _index() -> Index:
    # Relative, so they are right for every stage and domain; what a caller says of its host could be made up.
    return Index(name=NAME, version=VERSION, docs="docs", openapi="openapi.json")


handler = app.handler
