"""The code of a rank is what the launcher sees, whatever else goes with its process."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from acereason_trainer.config.exit_codes import ExitCode

from tests.python_path import python_path
from tests.stage_attempts import a_stage, begun, failure, write_rows

ABORTS = "import atexit, os\natexit.register(os.abort)\n"
"""As a thread of torch does that is at work while the interpreter goes."""

Ended = tuple[dict[str, Any], "subprocess.CompletedProcess[str]"]


def ended(tmp_path: Path, rows: list[dict[str, str]], more: str = "") -> Ended:
    """A stage of these rows; `more` runs in its process before anything else."""
    (tmp_path / "sitecustomize.py").write_text(ABORTS + more)
    stage = a_stage(
        tmp_path / "store", {"curate": {}}, data=write_rows(tmp_path / "rows.jsonl", rows)
    )
    path = begun(stage).work_dir / "stage.yaml"
    rank = subprocess.run(
        [sys.executable, "-m", "acereason_trainer", str(path)],
        env={**os.environ, "PYTHONPATH": python_path(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    return stage, rank


def test_a_failure_is_not_taken_for_a_crash_on_the_way_out(tmp_path: Path) -> None:
    """One process without torch: 2 s, and more on a busy machine."""
    stage, rank = ended(tmp_path, [{"problem": "2?", "answer": "2"}])
    assert rank.returncode == ExitCode.BAD_CONFIGURATION
    assert failure(stage)["reason"] == "NoRows"
    assert "NoRows: " in rank.stderr


def test_nor_is_a_mistake_of_ours(tmp_path: Path) -> None:
    """As long again."""
    breaks = "os.fsync = None\n"
    _, rank = ended(tmp_path, [{"problem": "How much is 1 + 1?", "answer": "2"}], breaks)
    assert rank.returncode == 1
    assert "TypeError: 'NoneType' object is not callable" in rank.stderr
