"""Close recorders when the process ends, and prepare them for forks."""

import atexit
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable
from typing import Protocol
from weakref import WeakSet

log = logging.getLogger("usage_recorder")


class Watched(Protocol):
    """The part of a recorder that is closed at exit and prepared for forks."""

    def close(self) -> object: ...

    def before_fork(self) -> None: ...

    def after_fork_in_parent(self) -> None: ...

    def after_fork_in_child(self) -> None: ...


# Weak references are enough: the thread of a delivery keeps it alive while there is something to send.
_recorders: "WeakSet[Watched]" = WeakSet()


def watch(recorder: Watched) -> None:
    """Close it when the process ends, and tell it about forks, for as long as it lives."""
    _recorders.add(recorder)


def exit_on_sigterm() -> None:
    """Make SIGTERM an ordinary exit, so that recorders are flushed. Call it in the main thread.

    By default SIGTERM, which is how containers are stopped, ends Python at once. An existing handler is kept.
    """
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


@atexit.register
def _close_all() -> None:
    _for_each("closed", (recorder.close for recorder in list(_recorders)))


def _for_each(action: str, steps: Iterable[Callable[[], object]]) -> None:
    """Run all steps: a failure of one recorder must not affect the others."""
    for step in steps:
        try:
            step()
        except Exception:
            log.exception("a recorder cannot be %s", action)


_forking: list[Watched] = []


def _before_fork() -> None:
    recorders = list(_recorders)
    for recorder in recorders:
        recorder.before_fork()
    _forking[:] = recorders


def _after_fork_in_parent() -> None:
    _for_each("used after a fork", (recorder.after_fork_in_parent for recorder in _forking))


def _after_fork_in_child() -> None:
    _for_each("used in a forked process", (recorder.after_fork_in_child for recorder in _forking))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
