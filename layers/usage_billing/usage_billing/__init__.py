"""Usage-based billing: record usage, compare it with the plan, bill overage. See README.md."""

import gc

THRESHOLDS = gc.get_threshold()
"""Python's default garbage collection thresholds."""

# Imported modules are never freed, so collecting garbage during imports wastes a sixth of a cold start. Postpone it;
# `observed` restores the thresholds.
gc.set_threshold(100_000)
