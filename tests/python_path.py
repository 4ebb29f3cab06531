"""Where programs that a test starts find what they import."""

import os
from pathlib import Path


def python_path(first: Path) -> str:
    """PYTHONPATH with a folder in front of what it holds: who runs the tests may have the packages
    there, and others installed."""
    return os.pathsep.join(filter(None, [str(first), os.environ.get("PYTHONPATH")]))
