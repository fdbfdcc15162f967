"""What can go wrong, in billing words. `http.STATUS` says how HTTP says it; `code` is stable and machine-readable."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

FieldCode = Literal["missing", "unknown", "invalid", "out_of_range", "not_in_plan", "contradiction", "differs", "more"]
"""What is wrong with a field, for programs: not there; no such field or parameter; a value that is not allowed; an
instant that is too long ago or ahead; no usage type of the plan; not the same as in another place; not the same as in
the recorded event; more errors than are reported."""


class BillingError(Exception):
    """Base of all. The message is written for the caller and holds nothing that the caller may not know."""

    code: str

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def codes() -> set[str]:
    """The codes of all errors."""
    waiting, found = [BillingError], set()
    while waiting:
        error = waiting.pop()
        waiting += error.__subclasses__()
        found |= {error.code} if "code" in vars(error) else set()
    return found


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field, in JSON names joined by dots. `message` goes on where the field's name ends."""

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
    """The request is JSON but not what the endpoint takes. `fields` has an entry for each error."""

    code = "validation_error"

    def __init__(self, *fields: FieldError) -> None:
        super().__init__("; ".join(f"{each.field}: {each.message}" for each in fields))
        self.fields = fields


class Unauthenticated(BillingError):
    """Base of the ways in which a caller fails to say who they are."""


class CredentialsMissing(Unauthenticated):
    code = "credentials_missing"


class CredentialsInvalid(Unauthenticated):
    code = "credentials_invalid"


class CredentialsExpired(Unauthenticated):
    code = "credentials_expired"


class Forbidden(BillingError):
    """The caller may not do this, or not with this, which may or may not exist."""

    code = "forbidden"


class SubscriptionNotOwned(BillingError):
    """An event names a user to whom the subscription does not belong."""

    code = "subscription_not_owned"


class RouteNotFound(BillingError):
    code = "not_found"


class MethodNotAllowed(BillingError):
    """The path is one of ours, with other methods: `allowed`."""

    code = "method_not_allowed"

    def __init__(self, message: str, allowed: Sequence[str]) -> None:
        super().__init__(message)
        self.allowed = allowed


class SubscriptionNotFound(BillingError):
    code = "subscription_not_found"


class QuotaNotFound(BillingError):
    code = "quota_not_found"


class InvoiceNotFound(BillingError):
    code = "invoice_not_found"


class EventNotFound(BillingError):
    """No event of this id is recorded or dead. One that waits in the queue is not known yet."""

    code = "event_not_found"


class RunNotFound(BillingError):
    code = "run_not_found"


class EventIdConflict(BillingError):
    """The event id names another event of this subscription already. One entry in `fields` per field that differs."""

    code = "event_id_conflict"

    def __init__(self, event_id: str, differences: Sequence[str]) -> None:
        names = ", ".join(differences)
        super().__init__(f"The event id {event_id} names another event of this subscription. What differs: {names}.")
        self.fields = [FieldError(name, "differs", "differs from the recorded event's") for name in differences]


class TooManyUsageTypes(BillingError):
    """The event would open a ledger, and its subscription has as many in this period as it may."""

    code = "too_many_usage_types"


class SubscriptionInactive(BillingError):
    code = "subscription_inactive"


class SubscriptionUserFixed(BillingError):
    """A subscription keeps its user for ever: ledgers and invoices belong to them."""

    code = "subscription_user_fixed"


class PlanCurrencyMismatch(BillingError):
    """All quotas of a plan are in the currency of its first, because an invoice has one currency."""

    code = "plan_currency_mismatch"


class InvoiceNotDraft(BillingError):
    """A charge came for an invoice that is final."""

    code = "invoice_not_draft"


class InvoiceCurrencyMismatch(BillingError):
    """A charge came in another currency than its invoice's."""

    code = "invoice_currency_mismatch"


class LedgerBusy(BillingError):
    """Others kept moving the ledger; nothing was written, the same request can be sent again."""

    code = "ledger_busy"


class DatabaseUnavailable(BillingError):
    """DynamoDB did not answer, or throttled; the same request can be sent again."""

    code = "database_unavailable"


class InternalError(BillingError):
    """A fault of ours. The cause is in the log only."""

    code = "internal_error"

    def __init__(self) -> None:
        super().__init__("Something failed on our side.")


class QueueUnavailable(BillingError):
    """An event had to wait in the queue, and the queue did not take it; the same request can be sent again."""

    code = "queue_unavailable"


class IdentityProviderUnavailable(BillingError):
    """The signing keys or the secrets could not be fetched, so nobody can be told apart."""

    code = "identity_provider_unavailable"
