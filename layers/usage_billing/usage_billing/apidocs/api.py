"""The response of the API's root."""

from usage_billing.kernel.fields import Strict


class Index(Strict):
    """The API's name and version, and links to its description.

    The links `docs` and `openapi` are relative to the API's URL with a slash at its end.
    """

    name: str
    version: str
    docs: str
    openapi: str
