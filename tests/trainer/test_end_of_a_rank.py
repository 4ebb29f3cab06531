"""The code of a rank is what the launcher sees, whatever else goes with its process."""

import os
import subprocess
import sys
from pathlib import Path

from acereason_trainer.config.exit_codes import ExitCode

from tests.stage_attempts import a_stage, begun, failure, write_rows

ABORTS = "import atexit, os\natexit.register(os.abort)\n"
"""As a thread of torch does that is at work while the interpreter goes."""


def test_a_failure_is_not_taken_for_a_crash_on_the_way_out(tmp_path: Path) -> None:
    """One process without torch: 2 s, and more on a busy machine."""
    (tmp_path / "sitecustomize.py").write_text(ABORTS)
    rows = write_rows(tmp_path / "rows.jsonl", [{"problem": "2?", "answer": "2"}])
    stage = a_stage(tmp_path / "store", {"curate": {}}, data=rows)
    path = begun(stage).work_dir / "stage.yaml"
    rank = subprocess.run(
        [sys.executable, "-m", "acereason_trainer", str(path)],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert rank.returncode == ExitCode.BAD_CONFIGURATION
    assert failure(stage)["reason"] == "NoRows"
    assert "NoRows: " in rank.stderr
