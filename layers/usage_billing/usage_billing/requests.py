"""What the API takes: bodies and parameters, and the domain values they become."""

from usage_billing.kernel.identifiers import (
    Identifier,
)
from usage_billing.web.shapes import Request


class BillingScope(Request):
    """Narrows a billing run to one subscription."""

    subscription_id: Identifier | None = None
