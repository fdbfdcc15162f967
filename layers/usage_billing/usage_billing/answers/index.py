"""What the API says of itself at its root."""

from usage_billing.values import Strict


class Index(Strict):
    """The API's name and version. `docs` and `openapi` are links to its description, relative to this answer."""

    name: str
    version: str
    docs: str
    openapi: str
