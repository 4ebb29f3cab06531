"""The files of one Job on this machine: one phase of one attempt of a stage.

`prepare.job` and `train.job` in the attempt's directory are what a Job object is on a cluster.
Before its process exists, the starter takes the file's flock; the process inherits that lock,
writes its pid into the file and keeps both until it ends, however it ends. So the file alone says
whether a Job was never started (no pid), runs (held), or has ended, and there is no moment between
two of these.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from acereason_trainer.artifacts.locks import is_held

from acereason_operator.planner.observed import Phase

PHASES: tuple[Phase, ...] = ("Prepare", "Train")


@dataclass(frozen=True)
class JobFiles:
    """Where one Job writes and is seen."""

    stage: str
    attempt: int
    phase: Phase
    directory: Path
    """The attempt's."""

    @property
    def mark(self) -> Path:
        """Its pid, under a lock that its process holds."""
        return self.directory / f"{self.phase.lower()}.job"

    @property
    def record(self) -> Path:
        """What it leaves at its end."""
        return self.directory / ("prepare.json" if self.phase == "Prepare" else "result.json")

    @property
    def progress(self) -> Path:
        """Where it is."""
        return self.directory / "progress.json"

    @property
    def log(self) -> Path:
        """Output of its process; the ranks of a train phase have logs of their own."""
        return self.directory / ("prepare.log" if self.phase == "Prepare" else "launcher.log")

    @property
    def stage_file(self) -> Path:
        """What it is told."""
        return self.directory / "stage.yaml"

    @property
    def pid(self) -> int | None:
        """Its process, which may have ended; None where it was never started."""
        try:
            return int(self.mark.read_text())
        except (FileNotFoundError, ValueError):
            return None

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return is_held(self.mark)


def attempt_directory(store: Path, run: str, stage: str, attempt: int) -> Path:
    """Where one attempt writes."""
    return store / "work" / run / stage / str(attempt)


def started_jobs(store: Path, run: str) -> Iterator[JobFiles]:
    """Every Job of a run that was started on this machine and not removed since."""
    for mark in sorted((store / "work" / run).glob("*/*/*.job")):
        stage, attempt = mark.parent.parent.name, mark.parent.name
        for phase in PHASES:
            files = JobFiles(stage, int(attempt), phase, mark.parent)
            if files.mark == mark and files.pid is not None:
                yield files
