"""Runs Hypothesis state machines: a fixed number of examples in the test suite, any number in `make soak`."""

import os
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

EXAMPLES = "MACHINE_EXAMPLES"


def run_machine(machine: type[Any], examples: int) -> None:
    """Run `examples` sequences of steps, the same ones each time.

    The environment variable MACHINE_EXAMPLES sets another number, and the sequences are then random.
    """
    asked = os.environ.get(EXAMPLES)
    budget = settings(
        max_examples=int(asked or examples),
        stateful_step_count=20,
        deadline=None,
        derandomize=asked is None,
        # A failing sequence is short enough to read. Shrinking it would take minutes.
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=budget)
