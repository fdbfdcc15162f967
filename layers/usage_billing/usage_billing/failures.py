"""Failures in billing words: the one place where an unexpected error is classified and counted."""

from usage_billing import store
from usage_billing.kernel.errors import BillingError, InternalError
from usage_billing.observability import DATABASE_FAILURES, INTERNAL_ERRORS, count


def in_billing_words(error: Exception) -> BillingError:
    """Return a refusal as it is, and anything else as the failure that it means, counted; its cause is `error`.

    The caller logs it, because only the caller knows what was not done.
    """
    if isinstance(error, BillingError):
        return error
    failure: BillingError | None = store.unavailable(error)
    if failure is None:
        count(INTERNAL_ERRORS)
        failure = InternalError()
        failure.__cause__ = error
    else:
        count(DATABASE_FAILURES)
    return failure
