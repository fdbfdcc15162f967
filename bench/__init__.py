"""Measures what the product can do, side by side with the barest code that does the same: `make bench`."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Ahead of everything, also in the worker processes: the layer and the handlers, as they are in Lambda.
for folder in ("functions", "layers/usage_billing"):
    if str(ROOT / folder) not in sys.path:
        sys.path.insert(0, str(ROOT / folder))

# Powertools reads them when it is imported.
OBSERVED = {
    "POWERTOOLS_SERVICE_NAME": "usage-billing",
    "POWERTOOLS_METRICS_NAMESPACE": "UsageBilling",
    "POWERTOOLS_LOG_LEVEL": "INFO",
}
os.environ |= OBSERVED
