"""The plainest checker: an interpreter for each test, output compared token by token, no walls."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from timed import one_after_another

_SECONDS = 6.0


def grade(case: dict[str, Any]) -> bool:
    """Whether the response's program passes every test; stops at the first failure."""
    source = case["response"].split("```python")[-1].split("```")[0]
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "program.py"
        program.write_text(source)
        return all(_passes(program, test) for test in case["tests"])


def _passes(program: Path, test: dict[str, str]) -> bool:
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(program)],
            input=test["input"],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0 and done.stdout.split() == test["output"].split()


if __name__ == "__main__":
    one_after_another(grade, [])
