"""A run's stages, published for real into a store of its own."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acereason_trainer.artifacts.manifest import Producer
from acereason_trainer.artifacts.store import DirectoryStore
from acereason_trainer.config.common import Telemetry
from acereason_trainer.config.stage_file import PublishedArtifact, StageKind
from acereason_trainer.telemetry.recorder import Recorder


@dataclass
class MadeUpRun:
    """Publishes stages one by one and keeps the run's status beside them."""

    store: Path
    name: str = "quick"
    stages: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self,
        stage: str,
        kind: StageKind,
        files: Mapping[str, str],
        *,
        records: Iterable[str] = (),
        **parents: PublishedArtifact,
    ) -> PublishedArtifact:
        """Publish a stage's artifact and mark it complete."""
        source = self.store / "work" / self.name / stage / "1" / "export"
        for name, text in files.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text(text)
        store = DirectoryStore(self.store)
        key = f"{kind}-{len(list(store.all())):032x}"
        published = store.publish(
            source,
            key=key,
            kind={"curate": "data", "evaluate": "evaluation"}.get(kind, "model"),
            records=list(records),
            parents={name: parent.digest for name, parent in parents.items()},
            producer=Producer(run=self.name, stage=stage, attempt=1, stage_kind=kind),
            step=7,
            versions={"torch": "2.13.0"},
        )
        self.stages.append(
            {
                "name": stage,
                "state": "Complete",
                "key": key,
                "artifact": published.dump(),
                "attempts": 1,
                "startedAt": "2026-01-01T10:00:00Z",
                "finishedAt": "2026-01-01T10:02:05Z",
            }
        )
        return published

    def write_status(self, state: str = "Complete", **more: Any) -> None:
        """Write runs/<name>/status.json."""
        directory = self.store / "runs" / self.name
        directory.mkdir(parents=True, exist_ok=True)
        status = {"state": state, "stages": self.stages, **more}
        (directory / "status.json").write_text(json.dumps(status))


def curves(directory: Path, steps: int, metrics: Mapping[str, float]) -> str:
    """metrics.jsonl as a recorder writes it."""
    with Recorder(directory, total=steps, unit="steps", settings=Telemetry(), key="k") as recorder:
        recorder.start()
        for step in range(1, steps + 1):
            with recorder.phase("generate"):
                pass
            recorder.record(step, {name: value * step for name, value in metrics.items()})
    return recorder.path.read_text()


def results(correct: Mapping[str, int], samples: int = 4) -> str:
    """results.json of one set named math."""
    n = len(correct)
    return json.dumps({
        "sets": [{
            "name": "math", "problems": n, "samples": samples,
            "accuracy": sum(correct.values()) / n / samples, "standardError": 0.03,
            "passAt": {"4": 0.75}, "truncatedShare": 0.1, "meanTokens": 40.5,
            "verdicts": {"correct": 2, "wrong": 2}, "correct": dict(correct),
        }]
    })  # fmt: skip
