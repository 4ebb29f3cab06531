"""Builders: a laptop with a run file and a store, on which `acereason` runs as a real process.

Prepare and launcher are the real ones; `stand_in_rank.py` takes the ranks' place.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from acereason_operator.api.status import RunStatus, StageStatus
from acereason_operator.local.processes import RANK_COMMAND

from tests.waiting import PATIENCE, is_alive, wait_for

RANK = [sys.executable, str(Path(__file__).with_name("stand_in_rank.py"))]

HELD_OUT = {"path": "eval.jsonl"}
DATA: dict[str, Any] = {"name": "data", "curate": {}, "inputs": {"data": {"path": "train.jsonl"}}}
SFT: dict[str, Any] = {"name": "sft", "needs": ["data"], "sft": {}}
EVAL: dict[str, Any] = {
    "name": "eval",
    "needs": ["sft"],
    "evaluate": {"sets": [{"name": "math", "file": "eval.jsonl"}]},
    "inputs": {"data": HELD_OUT},
}


def told(stage: dict[str, Any], words: str, **more: Any) -> dict[str, Any]:
    """A stage whose rank is told something."""
    return {**stage, "env": [{"name": "STAND_IN", "value": words}], **more}


@dataclass
class Laptop:
    """A directory with everything a run needs."""

    root: Path
    processes: list["subprocess.Popen[str]"] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.root / "model.json").write_text('{"model_type": "qwen2"}')
        (self.root / "tokenizer").mkdir()
        (self.root / "tokenizer" / "tokenizer.json").write_text("{}")
        for name in ("train.jsonl", "eval.jsonl"):
            (self.root / name).write_text(json.dumps({"problem": name, "answer": "1"}) + "\n")

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def file(self) -> Path:
        return self.root / "run.yaml"

    def has(self, *stages: dict[str, Any], **spec: Any) -> "Laptop":
        """The run file holds these stages, each on half a core unless it says otherwise."""
        run = {
            "apiVersion": "acereason.dev/v1alpha1",
            "kind": "AceReasonRun",
            "metadata": {"name": "demo"},
            "spec": {
                "model": {"fromConfig": {"config": "model.json", "tokenizer": "tokenizer"}},
                "storage": {"directory": "store"},
                "defaults": {
                    "resources": {"requests": {"cpu": "500m"}},
                    "retries": {"user": 1},
                    "gracePeriod": "5s",
                },
                "stages": list(stages),
                **spec,
            },
        }
        self.file.write_text(yaml.safe_dump(run))
        return self

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """`acereason ARGUMENTS` in the background."""
        process = subprocess.Popen(
            [sys.executable, "-m", "acereason_operator.cli.main", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.root,
            env={
                **os.environ,
                RANK_COMMAND: json.dumps(RANK),
                "XDG_STATE_HOME": str(self.root / "state"),
            },
            # Tests that were started in the background may ignore Ctrl-C, and pass that on.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )
        self.processes.append(process)
        return process

    def run(self, *arguments: str) -> "subprocess.Popen[str]":
        """`acereason run run.yaml` in the background; as JSON lines, which costs no report."""
        return self.start("run", str(self.file), "-o", "json", *arguments)

    def says(self, *arguments: str, code: int = 0) -> str:
        """What `acereason ARGUMENTS` prints; it must end with this code."""
        return self.end_of(self.start(*arguments), code)

    def runs(self, *arguments: str, code: int = 0) -> str:
        """What `acereason run run.yaml` prints; it must end with this code."""
        return self.end_of(self.run(*arguments), code)

    def end_of(self, process: "subprocess.Popen[str]", code: int = 0) -> str:
        """All that a process printed until it ended by itself."""
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == code, f"ended with {process.returncode}\n{out}\n{err}"
        return out + err

    @staticmethod
    def said_until(process: "subprocess.Popen[str]", words: str) -> str:
        """What a process prints, up to the line with these words; the rest waits to be read."""
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or words not in lines[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1], f"it ended without {words!r}\n{''.join(lines)}"
        return "".join(lines)

    @staticmethod
    def rest_of(process: "subprocess.Popen[str]", code: int = 0) -> str:
        """What a process prints after `said_until`; it must end by itself with this code."""
        assert process.stdout is not None
        said = process.stdout.read()
        assert process.wait(PATIENCE) == code, said
        return said

    def status(self) -> RunStatus:
        path = self.store / "runs" / "demo" / "status.json"
        return RunStatus.parse_json(path.read_bytes()) if path.exists() else RunStatus()

    def stage(self, name: str) -> StageStatus:
        found = (s for s in self.status().stages if s.name == name)
        return next(found, StageStatus(name=name))

    def states(self) -> dict[str, str]:
        return {s.name: s.state for s in self.status().stages}

    def attempt(self, stage: str, number: int = 1) -> Path:
        return self.store / "work" / "demo" / stage / str(number)

    def ready(self, stage: str, number: int = 1) -> int:
        """Wait until the rank of an attempt waits; its process id."""
        path = self.attempt(stage, number) / "ready"
        wait_for(lambda: path.exists() and path.read_text() != "", f"{stage} to be ready")
        return int(path.read_text())

    def launcher(self, stage: str, number: int = 1) -> int:
        """Process id of a launcher."""
        return int((self.attempt(stage, number) / "train.job").read_text())

    def lets_go(self, stage: str) -> None:
        """Let a waiting rank go on."""
        (self.store / "work" / "demo" / stage / "go").touch()

    def threads(self, stage: str) -> str:
        """What a stage was told of its number of threads."""
        artifact = self.stage(stage).artifact
        assert artifact is not None
        return (self.store / artifact.uri / "threads.txt").read_text()

    def close(self) -> None:
        """Leave no process behind."""
        for process in self.processes:
            process.kill()
            process.wait()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        for mark in self.store.glob("work/*/*/*/*.job"):
            pid = int(mark.read_text())
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ends just now
                if is_alive(pid) and str(self.store) in Path(f"/proc/{pid}/cmdline").read_text():
                    os.killpg(pid, signal.SIGKILL)
