"""What this process remembers from one invocation to the next, and the one way to forget all of it.

Tests and the benchmark begin each case in a process that remembers nothing.
"""

from collections.abc import Callable
from functools import cache
from typing import Protocol, TypeVar

_forgetters: list[Callable[[], object]] = []


class Clearable(Protocol):
    def clear(self) -> None: ...


ClearableT = TypeVar("ClearableT", bound=Clearable)
FunctionT = TypeVar("FunctionT", bound=Callable[..., object])


def on_forget(function: FunctionT) -> FunctionT:
    """Have `forget` call `function`. Decorates the function that empties something."""
    _forgetters.append(function)
    return function


def remembered(container: ClearableT) -> ClearableT:
    """Have `forget` clear `container`, and return it."""
    on_forget(container.clear)
    return container


def cached(function: FunctionT) -> FunctionT:
    """Remember what `function` returned for the same arguments, until `forget` is called."""
    kept = cache(function)
    on_forget(kept.cache_clear)
    return kept  # type: ignore[return-value]


def forget() -> None:
    """Forget everything that was registered here."""
    for each in _forgetters:
        each()
