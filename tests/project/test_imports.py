"""The linter that holds the arrows between packages sees a violation of each."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

VIOLATIONS = [
    ("acereason_trainer/stage.py", "import acereason_operator.api", "The trainer knows neither"),
    ("acereason_trainer/stage.py", "import kubernetes", "The trainer knows neither"),
    ("acereason_operator/cli/validate.py", "import acereason_trainer.stage", "The operator takes"),
    ("acereason_operator/planner/plan.py", "import time", "The planner is pure"),
    ("acereason_operator/api/run.py", "import subprocess", "The planner is pure"),
    ("acereason_trainer/config/rl.py", "import torch", "What runs without a GPU"),
    ("acereason_trainer/config/rl.py", "import acereason_trainer.artifacts", "Settings know"),
]


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two packages and the contracts, to be broken."""
    root = tmp_path_factory.mktemp("imports")
    for part in ("operator/acereason_operator", "trainer/acereason_trainer"):
        shutil.copytree(
            ROOT / part, root / Path(part).name, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", root)
    return root


@pytest.mark.parametrize(("file", "line", "contract"), VIOLATIONS)
def test_an_import_against_an_arrow_is_found(
    copied: Path, file: str, line: str, contract: str
) -> None:
    target = copied / file
    before = target.read_text()
    target.write_text(f"{before}\n{line}\n")
    try:
        result = subprocess.run(
            [Path(sys.executable).parent / "lint-imports", "--no-cache"],
            cwd=copied,
            env=os.environ | {"PYTHONPATH": str(copied)},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        target.write_text(before)
    broken = [row for row in result.stdout.splitlines() if " BROKEN" in row]
    assert result.returncode == 1
    assert any(row.startswith(contract) for row in broken), result.stdout
