"""A skipped test is a failure on continuous integration, with its reason."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"

SKIPPING = {
    "a test": "import pytest\n\ndef test_a():\n    pytest.skip('no go here')\n",
    "a mark": "import pytest\n\n@pytest.mark.skip(reason='no go here')\ndef test_a():\n    pass\n",
    "a module": "import pytest\n\npytest.skip('no go here', allow_module_level=True)\n",
}
PASSING = "\n\ndef test_b():\n    pass\n"


def run(directory: Path, text: str, *, ci: str, workers: str) -> subprocess.CompletedProcess[str]:
    """Run pytest on one file with the suite's own rules."""
    shutil.copy(CONFTEST, directory)
    (directory / "test_it.py").write_text(text)
    (directory / "test_other.py").write_text(PASSING)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", workers]
    return subprocess.run(
        command,
        cwd=directory,
        env=os.environ | {"CI": ci, "PYTHONPATH": str(CONFTEST.parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("what", "workers"), [("a test", "0"), ("a mark", "1"), ("a module", "0")])
def test_a_skip_fails_with_its_reason_under_ci(tmp_path: Path, what: str, workers: str) -> None:
    result = run(tmp_path, SKIPPING[what], ci="true", workers=workers)
    assert result.returncode == 1, result.stdout
    assert "each counts as a failure" in result.stdout
    assert "no go here" in result.stdout


def test_a_skip_passes_at_home(tmp_path: Path) -> None:
    assert run(tmp_path, SKIPPING["a test"], ci="", workers="0").returncode == 0


def test_a_suite_without_skips_passes_under_ci(tmp_path: Path) -> None:
    assert run(tmp_path, PASSING, ci="true", workers="0").returncode == 0
