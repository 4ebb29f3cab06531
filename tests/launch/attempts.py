"""Builders for the launcher's tests: a prepared attempt in a store, and a launcher that runs it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from acereason_trainer.config.curate import Curate
from acereason_trainer.config.stage_file import (
    Prepared,
    PreparedInputs,
    ResultRecord,
    StageFile,
    StageSettings,
)
from acereason_trainer.prepare.key import stage_key

from tests.waiting import PATIENCE, wait_for

FAKE_RANK = Path(__file__).with_name("fake_rank.py")
LAUNCHER = (sys.executable, "-m", "acereason_trainer.launch")
BY_CLOCK = (sys.executable, str(Path(__file__).with_name("launcher_by_clock.py")))


@dataclass(frozen=True)
class Attempt:
    """A stage attempt on disk."""

    file: StageFile
    path: Path

    @property
    def work_dir(self) -> Path:
        return self.path.parent

    @property
    def record(self) -> ResultRecord:
        return ResultRecord.parse_json((self.work_dir / "result.json").read_bytes())

    def command(
        self, behaviour: str, argument: str = "", launcher: Sequence[str] = LAUNCHER
    ) -> list[str]:
        rank = json.dumps([sys.executable, str(FAKE_RANK), behaviour, argument])
        return [*launcher, str(self.path), "--rank-command", rank]

    def launch(
        self,
        behaviour: str,
        argument: str = "",
        *,
        launcher: Sequence[str] = LAUNCHER,
        **environment: str,
    ) -> "subprocess.CompletedProcess[str]":
        """Run the launcher to its end with a fake rank."""
        return subprocess.run(
            self.command(behaviour, argument, launcher),
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    @contextmanager
    def launched(self, behaviour: str, argument: str = "") -> "Iterator[subprocess.Popen[bytes]]":
        """The launcher while it runs; killed at the end if it still does."""
        process = subprocess.Popen(self.command(behaviour, argument), stderr=subprocess.DEVNULL)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def ready(self, rank: int = 0) -> int:
        """Wait until a rank says that it is there; its process id."""
        path = self.work_dir / f"ready-{rank}"
        wait_for(lambda: path.exists() and path.read_text() != "", f"rank {rank} to be ready")
        return int(path.read_text())


def an_attempt(
    root: Path,
    *,
    ranks: int = 1,
    nodes: int = 1,
    grace_seconds: float = 30.0,
    no_progress_seconds: float | None = None,
    key: str | None = None,
    prepared: Callable[[Prepared], Prepared | None] = lambda p: p,
    number: int = 1,
) -> Attempt:
    """A prepared attempt of a curate stage."""
    file = StageFile(
        run="demo",
        stage="prompts",
        attempt=number,
        store=str(root),
        settings=StageSettings(curate=Curate()),
        ranks=ranks,
        nodes=nodes,
        grace_seconds=grace_seconds,
        no_progress_seconds=no_progress_seconds,
    )
    inputs = PreparedInputs()
    found = Prepared(key=key or stage_key(file, inputs), inputs=inputs)
    file = file.model_copy(update={"prepared": prepared(found)})
    path = root / file.work_dir / "stage.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump(file.dump()))
    return Attempt(file, path)


def ended_by(process: "subprocess.Popen[bytes]", number: signal.Signals) -> int:
    """Send a signal and wait for the end."""
    process.send_signal(number)
    return process.wait(PATIENCE)
