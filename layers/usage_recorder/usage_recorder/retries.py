"""How soon events are sent again. The retrying itself is tenacity's."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import SystemRandom

from tenacity import RetryCallState, wait_exponential

from usage_recorder.answers import Outcome, Retry

MAX_POSTPONED_LONGEST = 3000.0
"""Seconds. Buffers take a pause of more than an hour for one that a clock made which was set back since."""

_random = SystemRandom()  # processes restored from one snapshot share the state of any other generator


@dataclass(frozen=True, slots=True)
class Pauses:
    """Seconds between two tries. Each is drawn from 0 to a bound (full jitter), on top of what Retry-After asks for.

    The bound is `first`, then doubles up to `longest`. `operator` is the pause, with no jitter below it, while only a
    person can mend the cause: wrong credentials, a wrong URL.

    An event that is refused for a cause that may pass is retried after about `postponed_first`, then after twice as
    long each time up to `postponed_longest` (at most 3000), until it has been refused for `postponed_for`.
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
                f"postponed_longest must be 0 to {MAX_POSTPONED_LONGEST:g} s, not {self.postponed_longest}"
            )

    def after(self, state: RetryCallState) -> float:
        """The pause after a try that gave an `Attempt` or raised."""
        assert state.outcome
        bound = float(wait_exponential(multiplier=self.first, max=self.longest)(state))
        if state.outcome.failed:
            return _random.uniform(0, bound)
        attempt: Attempt = state.outcome.result()
        least = max(attempt.after, self.operator if attempt.operator else 0.0)
        return least + _random.uniform(0, self.first if attempt.progressed else bound)

    def retry_at(self, since: float, now: float) -> float | None:
        """When to retry an event that the service first refused at `since`; None if that is too long ago.

        All times in seconds since 1970. Each pause is as long as all before it together, so pauses double.
        """
        refused_for = max(0.0, now - since)
        if refused_for >= self.postponed_for:
            return None
        bound = min(self.postponed_longest, max(self.postponed_first, refused_for))
        return now + _random.uniform(bound / 2, bound)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one try led to."""

    outcomes: Sequence[Outcome] = ()

    @property
    def retries(self) -> list[Retry]:
        return [outcome for outcome in self.outcomes if isinstance(outcome, Retry)]

    @property
    def progressed(self) -> bool:
        """Whether anything was settled: the service is there, whatever it says of some events."""
        return len(self.retries) < len(self.outcomes)

    @property
    def after(self) -> float:
        return max((retry.after for retry in self.retries), default=0.0)

    @property
    def operator(self) -> bool:
        return any(retry.operator for retry in self.retries)


def has_to_go_on(attempt: Attempt) -> bool:
    return bool(attempt.retries)


def what_it_came_to(state: RetryCallState) -> Attempt:
    """The last attempt's result, where tenacity would raise that it gave up."""
    assert state.outcome
    attempt: Attempt = state.outcome.result()
    return attempt
