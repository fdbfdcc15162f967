"""What happens to recorders when the process ends or forks."""

import atexit
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable
from typing import Protocol
from weakref import WeakSet

log = logging.getLogger("usage_recorder")


class Living(Protocol):
    def close(self) -> object: ...

    def before_fork(self) -> None: ...

    def after_fork_in_parent(self) -> None: ...

    def after_fork_in_child(self) -> None: ...


# What has something to send is also held by its thread, so none is forgotten here too early.
_recorders: "WeakSet[Living]" = WeakSet()


def watch(recorder: Living) -> None:
    _recorders.add(recorder)


def exit_on_sigterm() -> None:
    """Make SIGTERM an ordinary exit, so that recorders are flushed as at any other. For the main thread.

    By itself SIGTERM, which is how containers are stopped, ends Python at once. A handler that is set already stays.
    """
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


@atexit.register
def _close_all() -> None:
    _each("closed", (recorder.close for recorder in list(_recorders)))


def _each(done: str, steps: Iterable[Callable[[], object]]) -> None:
    """What fails for one recorder must not keep the others from it."""
    for step in steps:
        try:
            step()
        except Exception:
            log.exception("a recorder cannot be %s", done)


_forking: list[Living] = []


def _before_fork() -> None:
    recorders = list(_recorders)
    for recorder in recorders:
        recorder.before_fork()
    _forking[:] = recorders


def _after_fork_in_parent() -> None:
    _each("used after a fork", (recorder.after_fork_in_parent for recorder in _forking))


def _after_fork_in_child() -> None:
    _each("used in a forked process", (recorder.after_fork_in_child for recorder in _forking))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
