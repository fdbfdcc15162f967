"""Python processes that use a recorder: the code they begin with, and their output."""

import subprocess
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
Spawn = Callable[..., subprocess.Popen[str]]

PREAMBLE = """
import os, signal, sys, threading, time
sys.path.insert(0, "layers/usage_recorder")
from usage_recorder import Pauses, UsageRecorder, exit_on_sigterm, record_usage

def make(**settings):
    pauses = Pauses(first=0.01, longest=0.05)
    return UsageRecorder(URL, api_key=KEY, **({"pauses": pauses} | settings))

def record(recorder, number=1):
    for _ in range(number):
        print(recorder.record("user-1", "sub-1", "report", 1), flush=True)
"""


def output_of(process: subprocess.Popen[str], code: int = 0) -> list[str]:
    """Wait for the process to end with the exit status `code`; return the words of its output."""
    output, _ = process.communicate(timeout=60)
    assert process.returncode == code
    return output.split()


def first_lines(process: subprocess.Popen[str], number: int) -> list[str]:
    """Return the first lines of a process that goes on running."""
    assert process.stdout
    return [process.stdout.readline().strip() for _ in range(number)]
