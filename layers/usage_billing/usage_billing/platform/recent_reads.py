"""A cache of values that this process read in the last minute."""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

RECENT_SECONDS = 60.0

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")


class Recent(Generic[KeyT, ValueT]):
    """Values that were read in the last minute, by key; all are dropped when there are more than `size`."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._read: dict[KeyT, tuple[float, ValueT]] = {}

    def get(self, key: KeyT, load: Callable[[], ValueT]) -> ValueT:
        """Return the cached value, or load it and cache it. An error of `load` is not cached."""
        now = time.monotonic()
        read_at, value = self._read.get(key, (None, None))
        if value is None or read_at is None or now - read_at >= RECENT_SECONDS:
            value = load()
            if len(self._read) >= self._size:
                self._read.clear()
            self._read[key] = (now, value)
        return value

    def clear(self) -> None:
        self._read.clear()
