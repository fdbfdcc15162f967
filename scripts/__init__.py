"""What the Makefile runs: `python -m scripts.NAME`, from the repository's root."""

import sys
from pathlib import Path

# The layer becomes /opt/python in Lambda; here its package has to be found where it stands.
_LAYER = str(Path(__file__).resolve().parent.parent / "layers/usage_billing")
if _LAYER not in sys.path:
    sys.path.insert(0, _LAYER)
