"""`acereason ... | head`: what only shows may be lost; a run, and its exit code, may not."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from acereason_operator.api.status import RunStatus, StageStatus
from acereason_operator.local.processes import RANK_COMMAND
from acereason_operator.local.run_directory import RunDirectory

RANK = [sys.executable, str(Path(__file__).parents[1] / "local" / "stand_in_rank.py")]


@pytest.fixture
def nobody_reads() -> Iterator[int]:
    """The end of a pipe whose reader has gone."""
    read, write = os.pipe()
    os.close(read)
    yield write
    os.close(write)


def acereason(directory: Path, *words: str, **streams: Any) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-m", "acereason_operator.cli.main", *words],
        cwd=directory,
        check=False,
        env={
            **os.environ,
            RANK_COMMAND: json.dumps(RANK),
            "XDG_STATE_HOME": str(directory / "state"),
        },
        **streams,
    )


def a_run_file(directory: Path, data: str = '{"problem": "1 + 1?", "answer": "2"}') -> None:
    """`run.yaml` with two stages, whose ranks are stand-ins."""
    (directory / "d.jsonl").write_text(data)
    (directory / "model.json").write_text('{"model_type": "qwen2"}')
    (directory / "tokenizer").mkdir()
    (directory / "tokenizer" / "tokenizer.json").write_text("{}")
    stage = {"curate": {}, "inputs": {"data": {"path": "d.jsonl"}}, "retries": {"user": 0}}
    run = {
        "apiVersion": "acereason.dev/v1alpha1",
        "kind": "AceReasonRun",
        "metadata": {"name": "demo"},
        "spec": {
            "model": {"fromConfig": {"config": "model.json", "tokenizer": "tokenizer"}},
            "storage": {"directory": "store"},
            "stages": [{"name": "one", **stage}, {"name": "two", **stage}],
        },
    }
    (directory / "run.yaml").write_text(yaml.safe_dump(run))


def states(directory: Path) -> list[str]:
    return [s.state for s in RunDirectory(directory / "store", "demo").status().stages]


@pytest.mark.parametrize(
    ("words", "gone"),
    [
        ([], ["stdout", "stderr"]),
        (["-o", "json"], ["stdout"]),
    ],
)
def test_a_run_whose_output_is_gone_goes_on_to_its_end(
    tmp_path: Path, nobody_reads: int, words: list[str], gone: list[str]
) -> None:
    a_run_file(tmp_path)
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    ended = acereason(
        tmp_path, "run", "run.yaml", *words, **streams | dict.fromkeys(gone, nobody_reads)
    )
    assert ended.returncode == 0
    assert set(states(tmp_path)) <= {"Complete", "Reused"}
    assert b"cannot be used" not in (ended.stderr or b"")


def test_a_run_that_fails_unseen_ends_with_1(tmp_path: Path, nobody_reads: int) -> None:
    a_run_file(tmp_path, data="no JSON\n")
    ended = acereason(tmp_path, "run", "run.yaml", "-o", "json", stdout=nobody_reads)
    assert ended.returncode == 1
    assert "Failed" in states(tmp_path)


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (["status"], 0, "it only reads"),
        (["artifacts", "list"], 0, "it only reads"),
        (["artifacts", "gc"], 141, "it changes something"),
        (["artifacts", "verify"], 141, "its exit code is a verdict, and it did not come to one"),
    ],
)
def test_a_verb_that_lost_its_reader_is_done_where_it_only_reads(
    tmp_path: Path, nobody_reads: int, words: list[str], code: int, why: str
) -> None:
    run = RunDirectory(tmp_path / "store", "demo")
    run.path.mkdir(parents=True)
    run.write_status(RunStatus(stages=[StageStatus(name="one")]))
    (tmp_path / "store" / "artifacts" / "nothing").mkdir(parents=True)
    ended = acereason(tmp_path, *words, stdout=nobody_reads, stderr=subprocess.PIPE)
    assert ended.returncode == code, why
    assert b"Traceback" not in ended.stderr and b"Exception ignored" not in ended.stderr
