"""Short lines about what is being done; what tools print goes to a log, shown only if they fail."""

from __future__ import annotations

import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


class Failure(Exception):
    """Something a person has to know, in words for them."""


@contextmanager
def step(doing: str) -> Iterator[None]:
    """Print what is being done and, once it is done, how long it took."""
    started = time.monotonic()
    print(f"  {doing} ...", end="", flush=True)
    try:
        yield
    except BaseException:
        print(" failed", flush=True)
        raise
    print(f" {time.monotonic() - started:.1f} s", flush=True)


def run(command: Sequence[str], *, log: Path, env: Mapping[str, str], cwd: Path) -> None:
    """Run a command with its output in `log`.

    Raises:
        Failure: it failed; the end of its output is in the message.
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
        raise Failure(f"`{' '.join(command[:2])}` failed ({code}).\n{tail(log)}")


def tail(log: Path, lines: int = 25) -> str:
    """The end of a log, and where the rest is."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return "\n".join([f"The end of {log}:", *(f"  | {line}" for line in text.splitlines()[-lines:])])
