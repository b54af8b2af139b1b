"""Makes fake_api importable: test modules are no packages."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
