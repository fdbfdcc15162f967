"""What the API says of itself at its root."""

from usage_billing.kernel.fields import Strict


class Index(Strict):
    """The API's name and version. `docs` and `openapi` are links to its description.

    They are relative to the API's URL with a slash at its end, which a URL with a stage in its path may lack.
    """

    name: str
    version: str
    docs: str
    openapi: str
