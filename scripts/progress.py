"""Progress lines of the commands. The output of tools goes to a log; its end is shown if a tool fails."""

from __future__ import annotations

import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


class Failure(Exception):
    """An error with a message for the user. Commands print it without a traceback."""


@contextmanager
def step(action: str) -> Iterator[None]:
    """Print `action` at the start and the seconds that it took at the end."""
    started = time.monotonic()
    print(f"  {action} ...", end="", flush=True)
    try:
        yield
    except BaseException:
        print(" failed", flush=True)
        raise
    print(f" {time.monotonic() - started:.1f} s", flush=True)


def run(command: Sequence[str], *, log: Path, env: Mapping[str, str], cwd: Path) -> None:
    """Run a command and write its output to `log`.

    Raises:
        Failure: the command failed. The message has the end of its output.
    """
    with log.open("wb") as output:
        code = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=env,
            cwd=cwd,
            check=False,
        ).returncode
    if code:
        raise Failure(f"`{' '.join(command[:2])}` failed with exit code {code}.\n{tail(log)}")


def tail(log: Path, lines: int = 25) -> str:
    """The last `lines` lines of a log, with the path of the log."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return "\n".join([f"The end of {log}:", *(f"  | {line}" for line in text.splitlines()[-lines:])])
