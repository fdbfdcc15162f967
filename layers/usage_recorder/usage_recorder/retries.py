"""The pauses between attempts. The retrying itself is tenacity's."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import SystemRandom

from tenacity import RetryCallState, wait_exponential

from usage_recorder.outcomes import Outcome, Retry

MAX_POSTPONED_LONGEST = 3000.0
"""Upper bound, in seconds, for `Pauses.postponed_longest`.

Buffers ignore pauses of more than an hour: they assume that the clock was set back.
"""

_random = SystemRandom()  # processes restored from one snapshot share the state of any other generator


@dataclass(frozen=True, slots=True)
class Pauses:
    """Seconds between two attempts, each chosen at random (full jitter) and added to the service's Retry-After.

    A pause is 0 up to a bound: `first`, then twice as long each time up to `longest`. It is at least `operator` while
    a person has to fix the cause, such as wrong credentials or a wrong URL.

    An event that is refused for a temporary cause is retried after about `postponed_first`, then after twice as long
    each time up to `postponed_longest` (at most 3000), until it has been refused for `postponed_for`.
    """

    first: float = 0.5
    longest: float = 30.0
    operator: float = 60.0
    postponed_first: float = 30.0
    postponed_longest: float = 1800.0
    postponed_for: float = 86_400.0

    def __post_init__(self) -> None:
        if not 0 < self.postponed_longest <= MAX_POSTPONED_LONGEST:
            raise ValueError(
                f"postponed_longest must be more than 0 and at most {MAX_POSTPONED_LONGEST:g} s,"
                f" not {self.postponed_longest}"
            )

    def after(self, state: RetryCallState) -> float:
        """Return the pause after a call that returned an `Attempt` or raised."""
        assert state.outcome
        bound = float(wait_exponential(multiplier=self.first, max=self.longest)(state))
        if state.outcome.failed:
            return _random.uniform(0, bound)
        attempt: Attempt = state.outcome.result()
        minimum = max(attempt.after, self.operator if attempt.operator else 0.0)
        return minimum + _random.uniform(0, self.first if attempt.progressed else bound)

    def retry_at(self, since: float, now: float) -> float | None:
        """Return when to retry an event that the service first refused at `since`; None if that is too long ago.

        All times are in seconds since 1970. A pause is as long as all earlier ones together, so pauses double.
        """
        refused_for = max(0.0, now - since)
        if refused_for >= self.postponed_for:
            return None
        bound = min(self.postponed_longest, max(self.postponed_first, refused_for))
        return now + _random.uniform(bound / 2, bound)


@dataclass(frozen=True, slots=True)
class Attempt:
    """The outcomes of one attempt to send events."""

    outcomes: Sequence[Outcome] = ()

    @property
    def retries(self) -> list[Retry]:
        """The outcomes of events that have to be sent again."""
        return [outcome for outcome in self.outcomes if isinstance(outcome, Retry)]

    @property
    def progressed(self) -> bool:
        """True if any event was settled: the service works, whatever it says about the other events."""
        return len(self.retries) < len(self.outcomes)

    @property
    def after(self) -> float:
        """The seconds that the service asks to wait."""
        return max((retry.after for retry in self.retries), default=0.0)

    @property
    def operator(self) -> bool:
        """True if a person has to fix the cause."""
        return any(retry.operator for retry in self.retries)


def needs_retry(attempt: Attempt) -> bool:
    return bool(attempt.retries)


def last_attempt(state: RetryCallState) -> Attempt:
    """Return the last attempt where tenacity would raise that it gave up."""
    assert state.outcome
    attempt: Attempt = state.outcome.result()
    return attempt
