"""Usage-based billing: record usage, compare it with the plan, bill overage. See README.md."""

import gc

THRESHOLDS = gc.get_threshold()
"""When Python usually looks for garbage."""

# What is imported stays. To look for garbage in it, again and again while it is imported, takes a sixth of a cold
# start: functions import this before anything large, and `observed` ends it when they are complete.
gc.set_threshold(100_000)
