"""Benchmark of the product against bare code that makes the same writes: `make bench`."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Put the layer and the handlers first on the path, as in Lambda. Worker processes need this too.
for folder in ("functions", "layers/usage_billing"):
    if str(ROOT / folder) not in sys.path:
        sys.path.insert(0, str(ROOT / folder))

# Powertools reads these variables when it is imported.
OBSERVED = {
    "POWERTOOLS_SERVICE_NAME": "usage-billing",
    "POWERTOOLS_METRICS_NAMESPACE": "UsageBilling",
    "POWERTOOLS_LOG_LEVEL": "INFO",
}
os.environ |= OBSERVED
