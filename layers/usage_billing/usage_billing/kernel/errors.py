"""Errors in billing terms, each with a stable, machine-readable `code`. `web.problems.STATUS` has the HTTP status.

The text of an error is written where it is raised.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

FieldCode = Literal["missing", "unknown", "invalid", "out_of_range", "not_in_plan", "contradiction", "differs", "more"]
"""The machine-readable code of a field's error.

- `missing`: the field is required
- `unknown`: there is no such field or parameter
- `invalid`: the value is not allowed
- `out_of_range`: the instant is too far in the past or in the future
- `not_in_plan`: the plan has no quota for this usage type
- `contradiction`: the value differs from the same value in another place
- `differs`: the value differs from the recorded event
- `more`: there are more errors than are reported
"""


class BillingError(Exception):
    """Base class of all errors. The message is for the caller and reveals nothing that the caller may not know."""

    code: str

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def error_codes() -> set[str]:
    """Return the codes of all errors."""
    unvisited, codes = [BillingError], set()
    while unvisited:
        error = unvisited.pop()
        unvisited += error.__subclasses__()
        codes |= {error.code} if "code" in vars(error) else set()
    return codes


@dataclass(frozen=True, slots=True)
class FieldError:
    """An error of one field.

    `field` is its path: JSON names joined by dots. `message` continues a sentence that begins with the field's name.
    """

    field: str
    code: FieldCode
    message: str


class NotJson(BillingError):
    code = "not_json"


class BodyTooLarge(BillingError):
    code = "body_too_large"


class UnsupportedMediaType(BillingError):
    code = "unsupported_media_type"


class ValidationFailed(BillingError):
    """The request is JSON, but not what the endpoint accepts. `fields` has one entry per error."""

    code = "validation_error"

    def __init__(self, *fields: FieldError) -> None:
        super().__init__("; ".join(f"{each.field}: {each.message}" for each in fields))
        self.fields = fields


class Unauthenticated(BillingError):
    """Base class of the errors of a caller whose identity is not established."""


class CredentialsMissing(Unauthenticated):
    code = "credentials_missing"


class CredentialsInvalid(Unauthenticated):
    code = "credentials_invalid"


class CredentialsExpired(Unauthenticated):
    code = "credentials_expired"


class Forbidden(BillingError):
    """The caller may not do this, or not with this resource, which may or may not exist."""

    code = "forbidden"


class SubscriptionNotOwned(BillingError):
    """The event names a user who does not own the subscription."""

    code = "subscription_not_owned"


class RouteNotFound(BillingError):
    code = "not_found"


class MethodNotAllowed(BillingError):
    """The path exists, but only with the methods in `allowed`."""

    code = "method_not_allowed"

    def __init__(self, message: str, allowed: Sequence[str]) -> None:
        super().__init__(message)
        self.allowed = allowed


class SubscriptionNotFound(BillingError):
    code = "subscription_not_found"


class QuotaNotFound(BillingError):
    code = "quota_not_found"


class QuotaVersionNotFound(BillingError):
    code = "quota_version_not_found"


class InvoiceNotFound(BillingError):
    code = "invoice_not_found"


class EventNotFound(BillingError):
    """No event with this id is recorded or dead. An event that is still in the queue is not found either."""

    code = "event_not_found"


class RunNotFound(BillingError):
    code = "run_not_found"


class EventIdConflict(BillingError):
    """Another event of this subscription already has this id. `fields` has one entry per field that differs."""

    code = "event_id_conflict"

    def __init__(self, event_id: str, differences: Sequence[str]) -> None:
        names = ", ".join(differences)
        super().__init__(
            f"Another event of this subscription already has the event id {event_id}. Fields that differ: {names}."
        )
        self.fields = [FieldError(name, "differs", "differs from the recorded event") for name in differences]


class TooManyUsageTypes(BillingError):
    """The event needs a new ledger, but its subscription already has the maximum number of ledgers in this period."""

    code = "too_many_usage_types"


class SubscriptionInactive(BillingError):
    code = "subscription_inactive"


class SubscriptionUserFixed(BillingError):
    """The user of a subscription never changes, because ledgers and invoices belong to that user."""

    code = "subscription_user_fixed"


class PlanCurrencyMismatch(BillingError):
    """All quotas of a plan have the currency of its first quota, because an invoice has one currency."""

    code = "plan_currency_mismatch"


class QuotaVersionInEffect(BillingError):
    """The version can no longer be deleted, because ledgers may have its terms. A newer version can replace it."""

    code = "quota_version_in_effect"


class InvoiceNotDraft(BillingError):
    """The charge belongs on an invoice that is no longer a draft."""

    code = "invoice_not_draft"


class InvoiceCurrencyMismatch(BillingError):
    """The charge and its invoice have different currencies."""

    code = "invoice_currency_mismatch"


class LedgerBusy(BillingError):
    """Other callers kept changing the ledger. Nothing was written; the same request can be sent again."""

    code = "ledger_busy"


class DatabaseUnavailable(BillingError):
    """DynamoDB did not answer, or throttled the request. The same request can be sent again."""

    code = "database_unavailable"


class InternalError(BillingError):
    """A bug or a failure on our side. The cause is only in the log."""

    code = "internal_error"

    def __init__(self) -> None:
        super().__init__("An internal error occurred on our side.")


class QueueUnavailable(BillingError):
    """The event had to go to the queue, and the queue did not accept it. The same request can be sent again."""

    code = "queue_unavailable"


class IdentityProviderUnavailable(BillingError):
    """The signing keys or the secrets could not be fetched, so no caller can be authenticated."""

    code = "identity_provider_unavailable"
