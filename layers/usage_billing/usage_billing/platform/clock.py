"""The clock. Handlers read it once and pass the instant on."""

from collections.abc import Callable
from datetime import UTC, datetime

from aws_lambda_powertools.utilities.typing import LambdaContext


def now() -> datetime:
    """The current instant in UTC, to the millisecond."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def time_left(context: LambdaContext) -> Callable[[], float]:
    """Tells how many seconds this invocation may still take."""
    return lambda: context.get_remaining_time_in_millis() / 1000
