"""A store without room ends a rank and its launcher as temporary: it is nobody's fault, and passes.

A limit of the operating system on the size of every file stands for the disk. Logs lie on the same
disk, so the rank's own words may find no room either.
"""

import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from acereason_trainer.config.exit_codes import ExitCode
from attempts import an_attempt

from tests.stage_attempts import a_stage, begun, write_rows

RANK = (sys.executable, "-m", "acereason_trainer")
ADVICE = "`acereason artifacts gc --dry-run` shows what can go"


def without_room(command: Sequence[str], log: Path | None = None) -> "subprocess.CompletedProcess":
    """Run a command that can write no file; `log` takes what it says, if it can."""
    with Path(log or os.devnull).open("w") as out:
        return subprocess.run(
            command,
            stdout=out if log else subprocess.PIPE,
            stderr=out if log else subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
            check=False,
        )


@pytest.fixture
def stage_file(tmp_path: Path) -> Path:
    rows = write_rows(tmp_path / "rows.jsonl", [{"problem": "1 + 1", "answer": "2"}])
    stage = a_stage(tmp_path / "store", {"curate": {"decontamination": None}}, data=rows)
    return begun(stage).work_dir / "stage.yaml"


def test_a_rank_says_what_found_no_room_and_what_to_do(stage_file: Path) -> None:
    done = without_room([*RANK, str(stage_file)])
    assert done.returncode == ExitCode.TEMPORARY, done.stderr
    assert "StoreFull: no room left to write " in done.stderr
    assert ADVICE in done.stderr
    assert "Traceback" not in done.stderr


def test_a_rank_whose_log_is_on_the_same_disk_still_ends_with_that_code(stage_file: Path) -> None:
    done = without_room([*RANK, str(stage_file)], Path("/dev/full"))
    assert done.returncode == ExitCode.TEMPORARY


def test_a_log_line_that_finds_no_room_is_no_fault_of_the_stages(stage_file: Path) -> None:
    """Only the log is full here: the sentence reaches the launcher by its own file."""
    with Path("/dev/full").open("w") as log:
        done = subprocess.run(
            [sys.executable, "-c", SAYS_SOMETHING, str(stage_file)],
            stderr=log,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            check=False,
        )
    assert done.returncode == ExitCode.TEMPORARY
    said = (stage_file.parent / "rank-0.failure.json").read_text()
    assert "StoreFull" in said
    assert ADVICE in said


SAYS_SOMETHING = """
from acereason_trainer import __main__ as rank
from acereason_trainer.telemetry.log_line import say
rank.share_out = lambda stage, context: say("a line")
rank.run_to_its_end()
"""


def test_a_launcher_says_what_to_do_too(tmp_path: Path) -> None:
    done = without_room(an_attempt(tmp_path).command("publish"))
    assert done.returncode == ExitCode.TEMPORARY
    assert "no room left to write " in done.stderr
    assert ADVICE in done.stderr
    assert "Traceback" not in done.stderr
