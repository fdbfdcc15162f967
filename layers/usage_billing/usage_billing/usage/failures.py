"""Turn an exception that was raised for an event into the event's outcome."""

from usage_billing.kernel.errors import BillingError, InternalError
from usage_billing.platform.failures import as_billing_error
from usage_billing.platform.log_events import LogEvent
from usage_billing.platform.observability import logger


def as_outcome(error: Exception) -> BillingError:
    """Return a refusal as it is. Count and log a failure with its cause: the outcome shows only its kind."""
    failure = as_billing_error(error)
    if isinstance(failure, InternalError) and failure is not error:
        logger.error(LogEvent.INTERNAL_ERROR, exc_info=error)
    elif failure is not error:
        logger.error(LogEvent.EVENTS_NOT_RECORDED, code=failure.code, cause=repr(error))
    return failure
