"""Builders: attempts of a real stage in a store of its own, carried out in this process."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from acereason_trainer.__main__ import carry_out
from acereason_trainer.artifacts.store import DirectoryStore
from acereason_trainer.config import yaml_numbers
from acereason_trainer.config.stage_file import StageFile
from acereason_trainer.stage import StageContext, StopFlag


class StopsAtTheNthLook(StopFlag):
    """A SIGTERM that arrives at a chosen moment."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self._looks = looks

    def check(self) -> None:
        self._looks -= 1
        if self._looks < 0:
            self._event.set()
        super().check()


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """A JSONL file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def a_stage(
    store: Path,
    settings: dict[str, Any],
    *,
    run: str = "run",
    key: str | None = None,
    salt: int = 0,
    **sources: Path,
) -> dict[str, Any]:
    """What attempt 1 of stage `stage` is told.

    settings: `{kind: {...}}`. key: names every random draw. sources: by input (`model`, `data`,
    `validation`, `heldOut` for one held-out set); they are imported.
    """
    shelves = DirectoryStore(store)
    refs = {
        name: shelves.import_path(path, "model" if name == "model" else "data").dump()
        for name, path in sources.items()
    }
    inputs = {name: [ref] if name == "heldOut" else ref for name, ref in refs.items()}
    (kind,) = settings
    return {
        "run": run,
        "stage": "stage",
        "attempt": 1,
        "store": str(store),
        "settings": settings,
        "prepared": {"key": key or f"{kind}-{'0' * 32}", "inputs": inputs, "salt": salt},
    }


def begun(stage: dict[str, Any], stop: StopFlag | None = None) -> StageContext:
    """The attempt, with its directory and its stage file in it."""
    file = StageFile.parse(stage)
    assert file.prepared is not None
    work_dir = Path(file.store) / file.work_dir
    work_dir.mkdir(parents=True)
    (work_dir / "stage.yaml").write_bytes(yaml_numbers.dump(stage))
    return StageContext(file, file.prepared, Path(file.store), work_dir, stop or StopFlag())


def attempt(stage: dict[str, Any], stop: StopFlag | None = None) -> int:
    """Exit code of the attempt."""
    return carry_out(begun(stage, stop))


def published(stage: dict[str, Any]) -> tuple[str, Path]:
    """Digest and directory of the stage's artifact."""
    store = DirectoryStore(Path(stage["store"]))
    artifact = store.lookup(stage["prepared"]["key"])
    assert artifact is not None
    return artifact.digest, store.directory(artifact.uri)


def failure(stage: dict[str, Any]) -> dict[str, Any]:
    """Why the attempt ended, in its own words."""
    work_dir = Path(stage["store"]) / StageFile.parse(stage).work_dir
    said: dict[str, Any] = json.loads((work_dir / "rank-0.failure.json").read_text())
    return said
