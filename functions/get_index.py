"""GET /: the name and version of this API, with links to its documentation."""

from functools import cache

from usage_billing.access.callers import PUBLIC
from usage_billing.apidocs.api import Index
from usage_billing.kernel.product_version import NAME, VERSION
from usage_billing.web.bodies import JSON
from usage_billing.web.resolver import Api, Response, response_doc

app = Api()


@app.get("/", allow=PUBLIC, responses={200: response_doc(Index, "Name, version and links")})
def get_index() -> Response[Index]:
    return Response(200, JSON, _index(), headers={"Cache-Control": "public, max-age=300"})


@cache
def _index() -> Index:
    # Relative links work for every stage and domain. The Host header cannot be trusted, since the caller sets it.
    return Index(name=NAME, version=VERSION, docs="docs", openapi="openapi.json")


handler = app.handler
