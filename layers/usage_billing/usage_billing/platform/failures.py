"""Classification of unexpected errors as billing errors. Each is counted once."""

from botocore.exceptions import BotoCoreError, ClientError
from pynamodb.exceptions import PynamoDBException, TransactWriteError

from usage_billing.kernel.errors import BillingError, DatabaseUnavailable, InternalError
from usage_billing.platform.dynamodb import error_code
from usage_billing.platform.log_events import LogEvent
from usage_billing.platform.observability import DATABASE_FAILURES, INTERNAL_ERRORS, count, logger

_INVALID_REQUEST = {"ValidationException", "SerializationException", "ValidationError"}


def as_billing_error(error: Exception) -> BillingError:
    """Return a billing error as it is, and any other error as a failure of the database or an internal error.

    Such a failure is counted, and `error` is its cause. The caller logs it, because only the caller knows what was
    not done.
    """
    if isinstance(error, BillingError):
        return error
    failure: BillingError
    if _is_database(error):
        count(DATABASE_FAILURES)
        failure = DatabaseUnavailable("The database did not answer; send the same request again.")
    else:
        count(INTERNAL_ERRORS)
        failure = InternalError()
    failure.__cause__ = error
    return failure


def as_logged_error(error: Exception, event: LogEvent) -> BillingError:
    """Return the same as `as_billing_error`, and log a failure with its cause: database failures as `event`."""
    failure = as_billing_error(error)
    if isinstance(failure, InternalError) and failure is not error:
        logger.error(LogEvent.INTERNAL_ERROR, exc_info=error)
    elif failure is not error:
        logger.error(event, code=failure.code, cause=repr(error))
    return failure


def _is_database(error: Exception) -> bool:
    """Return True if the database failed, and False if our request was invalid."""
    codes = {error_code(error)}
    if isinstance(error, TransactWriteError):
        codes |= {reason.code for reason in error.cancellation_reasons if reason}
    return not codes & _INVALID_REQUEST and isinstance(error, PynamoDBException | BotoCoreError | ClientError)
