"""Flush events at the end of an AWS Lambda invocation, because afterwards the process is frozen."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, Protocol, TypeVar

HANDLER_RESERVE_SECONDS = 0.5
"""The part of its time that a handler keeps for its response after flushing."""

log = logging.getLogger("usage_recorder")

P = ParamSpec("P")
R = TypeVar("R")


class Flushable(Protocol):
    """The part of a recorder that is needed here."""

    @property
    def unsent(self) -> int: ...

    def flush(self, timeout: float) -> bool: ...


def flush_after(handler: Callable[P, R], recorder: Flushable, flush_timeout: float) -> Callable[P, R]:
    """Return `handler` followed by a flush. It keeps its result or exception, whatever happens while flushing."""

    @wraps(handler)
    def flushed(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return handler(*args, **kwargs)
        finally:
            _flush(recorder, args, flush_timeout)

    return flushed


def _flush(recorder: Flushable, arguments: tuple[Any, ...], flush_timeout: float) -> None:
    try:
        if not recorder.flush(_time_left(arguments, flush_timeout)):
            log.warning("%d usage events are unsent at the end of the invocation", recorder.unsent)
    except Exception:
        log.exception("usage events cannot be flushed at the end of the invocation")


def _time_left(arguments: tuple[Any, ...], flush_timeout: float) -> float:
    """Return the seconds for a flush, limited by the Lambda context if there is one among the arguments."""
    remaining = next(
        (each.get_remaining_time_in_millis for each in arguments if hasattr(each, "get_remaining_time_in_millis")),
        None,
    )
    if remaining is None:
        return flush_timeout
    return min(flush_timeout, max(0.0, float(remaining()) / 1000 - HANDLER_RESERVE_SECONDS))
