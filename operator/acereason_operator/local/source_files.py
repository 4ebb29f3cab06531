"""Which sources changed since a start of the run let its stages read them.

`sources.json` in the run's directory holds size and time of change of each source file as the last
start found them, so that a file with other content shows whichever way its time moved (a copy may
keep an older one). What is not written there counts as changed: preparing a stage once more costs
little. A source that is gone has not changed: what was imported of it is in the store.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from acereason_trainer.artifacts.flushing import replace_file
from acereason_trainer.artifacts.store import files_at
from acereason_trainer.config.sources import ModelSource

from acereason_operator.api.run import AceReasonRunSpec
from acereason_operator.local.run_directory import RunDirectory
from acereason_operator.planner.context import Context
from acereason_operator.planner.named_inputs import NamedInputs
from acereason_operator.planner.recipe import recipe_of

Look: TypeAlias = Mapping[str, list[int]]
"""By file of a source: bytes, and nanoseconds of its last change."""

FILE = "sources.json"


@dataclass(frozen=True)
class SourceFiles:
    """The sources of a run, each by its absolute path."""

    before: Mapping[str, Look]
    """As the last start found them."""
    now: Mapping[str, Look]
    """Those that are there."""

    def changed(self, path: str) -> bool:
        """Whether a source is another one than before."""
        return path in self.now and self.now[path] != self.before.get(path)


def look(directory: RunDirectory, spec: AceReasonRunSpec, context: Context) -> SourceFiles:
    """The sources of a run, and what its last start wrote of them."""
    inputs = recipe_of(spec).inputs.values()
    paths = {path for of_stage in inputs for path in source_paths(of_stage, context)}
    looks = {path: _look(Path(path)) for path in sorted(paths)}
    return SourceFiles(
        before=_written(directory.path / FILE),
        now={path: found for path, found in looks.items() if found is not None},
    )


def keep(directory: RunDirectory, sources: SourceFiles) -> None:
    """Write what was found, for the next start to compare with."""
    known = {**sources.before, **sources.now}
    replace_file(directory.path / FILE, json.dumps(known, indent=1).encode())


def source_paths(inputs: NamedInputs, context: Context) -> Iterator[str]:
    """Absolute paths that a stage's inputs name on this machine."""
    for _, source in inputs.by_name():
        if source.path is not None:
            yield context.resolve(source.path)
        elif isinstance(source, ModelSource) and source.from_config is not None:
            yield context.resolve(source.from_config.config)
            yield context.resolve(source.from_config.tokenizer)


def _look(path: Path) -> Look | None:
    """None where nothing can be seen: whoever has to read it says what is wrong."""
    try:
        files = files_at(path)
        # A link shows as what it leads to, and as itself where that is nothing.
        stats = {name: f.stat() if f.exists() else f.lstat() for name, f in files.items()}
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in sorted(stats.items())}


def _written(path: Path) -> dict[str, Look]:
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
