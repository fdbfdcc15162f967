"""The commands behind the Makefile's targets. Run them as `python -m scripts.NAME` from the root of the repository."""

import sys
from pathlib import Path

# In Lambda the layer is at /opt/python. Here the package is imported from its source folder.
_LAYER = str(Path(__file__).resolve().parent.parent / "layers/usage_billing")
if _LAYER not in sys.path:
    sys.path.insert(0, _LAYER)
