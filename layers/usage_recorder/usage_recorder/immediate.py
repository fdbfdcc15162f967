"""Send one event at once, and return by a deadline whatever happens."""

import threading
from collections.abc import Callable
from concurrent.futures import Future

from tenacity import Retrying, retry_if_result, stop_before_delay

from usage_recorder.deadlines import Deadline
from usage_recorder.outcomes import Outcome
from usage_recorder.retries import Attempt, Pauses, last_attempt, needs_retry
from usage_recorder.sender import Sender
from usage_recorder.settings import MIN_ATTEMPT_SECONDS

RESPONSE_RESERVE_SECONDS = 0.1
"""The time left for the caller after the last attempt, so that the caller learns why it failed."""


def send_by(deadline: Deadline, text: str, sender: Sender, pauses: Pauses, stopped: Callable[[], bool]) -> Outcome:
    """Send an event, again and again until it has an answer, and return its outcome.

    It is sent in another thread: nothing else limits the time that a request takes. The thread may outlive the
    deadline. Its outcome is then ignored, and the event has to be sent once more.

    Raises:
        TimeoutError: there is no outcome by the deadline.
    """
    outcome: Future[Outcome] = Future()

    def send() -> None:
        try:
            outcome.set_result(_send_until(deadline.reserve(RESPONSE_RESERVE_SECONDS), text, sender, pauses, stopped))
        except BaseException as error:
            outcome.set_exception(error)
            raise

    try:
        threading.Thread(target=send, name="usage-recorder-now", daemon=True).start()
    except RuntimeError:  # Python exits, or there are too many threads
        send()
    return outcome.result(deadline.left())


def _send_until(deadline: Deadline, text: str, sender: Sender, pauses: Pauses, stopped: Callable[[], bool]) -> Outcome:
    """Return the outcome of the last attempt that begins before the deadline. There is at least one."""
    out_of_time = stop_before_delay(deadline.left(at_least=MIN_ATTEMPT_SECONDS))
    send = Retrying(
        retry=retry_if_result(needs_retry),
        wait=pauses.after,
        stop=lambda state: stopped() or out_of_time(state),
        retry_error_callback=last_attempt,
    )
    attempt: Attempt = send(lambda: Attempt(sender.send([text], deadline.left(at_least=MIN_ATTEMPT_SECONDS))))
    return attempt.outcomes[0]
