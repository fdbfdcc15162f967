"""Caches that last as long as the process, and one function that clears all of them.

Tests and the benchmark start each case with empty caches.
"""

from collections.abc import Callable
from functools import cache
from typing import Protocol, TypeVar

_clearers: list[Callable[[], object]] = []


class Clearable(Protocol):
    def clear(self) -> None: ...


ClearableT = TypeVar("ClearableT", bound=Clearable)
FunctionT = TypeVar("FunctionT", bound=Callable[..., object])


def on_clear(function: FunctionT) -> FunctionT:
    """Have `clear_all` call `function`. A decorator."""
    _clearers.append(function)
    return function


def register_cache(container: ClearableT) -> ClearableT:
    """Have `clear_all` clear `container`, and return it."""
    on_clear(container.clear)
    return container


def cached(function: FunctionT) -> FunctionT:
    """Cache the results of `function` by its arguments. A decorator."""
    with_cache = cache(function)
    on_clear(with_cache.cache_clear)
    return with_cache  # type: ignore[return-value]


def clear_all() -> None:
    """Clear every cache that was registered here."""
    for clear in _clearers:
        clear()
