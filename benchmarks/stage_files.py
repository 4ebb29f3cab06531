"""Stage files in a store of a benchmark's own, and stages carried out without a cluster.

The key is the product's, so what an earlier start finished is not done again.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from acereason_trainer.__main__ import carry_out
from acereason_trainer.artifacts.store import DirectoryStore
from acereason_trainer.config import yaml_numbers
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.stage_file import Prepared, PreparedInputs, StageFile, StageSettings
from acereason_trainer.prepare.key import stage_key
from acereason_trainer.stage import StageContext

RUN = "bench"


def stage_file(
    store: Path,
    settings: Mapping[str, Any],
    *,
    name: str,
    model: Path,
    data: Path,
    seed: int = 0,
    key: str | None = None,
) -> StageFile:
    """A prepared stage, its inputs imported and its file in the store.

    settings: `{kind: {...}}` as in a run file. name: of the stage, one for each that may run at
    the same time. model, data: a directory or file each. key: another arm's, where both are to
    draw the same prompts in the same order; such a stage is not to be published.
    """
    shelves = DirectoryStore(store)
    inputs = PreparedInputs(
        model=shelves.import_path(model, "model"), data=shelves.import_path(data, "data")
    )
    file = StageFile(
        run=RUN,
        stage=name,
        attempt=1,
        seed=seed,
        store=str(store),
        settings=StageSettings.parse(dict(settings)),
    )
    prepared = Prepared(key=key or stage_key(file, inputs), inputs=inputs)
    file = file.model_copy(update={"prepared": prepared})
    path = path_of(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(yaml_numbers.dump(file.dump()))
    return file


def path_of(file: StageFile) -> Path:
    """Where a stage's file is, for those who run it as a process."""
    return Path(file.store) / file.work_dir / "stage.yaml"


def begun_anew(file: StageFile) -> Path:
    """The stage file alone in its attempt's directory. What an earlier start has left there would
    be used again: rollouts of its journal take no time to draw."""
    path = path_of(file)
    content = path.read_bytes()
    shutil.rmtree(path.parent)
    path.parent.mkdir()
    path.write_bytes(content)
    return path


def context_of(file: StageFile) -> StageContext:
    """The attempt, ready to work in this process."""
    assert file.prepared is not None
    return StageContext(file, file.prepared, Path(file.store), path_of(file).parent)


def carried_out(file: StageFile) -> Path:
    """The directory of the stage's artifact; made in this process where it is not there yet.

    Raises RuntimeError where the stage ends badly; its own sentence is on stderr.
    """
    assert file.prepared is not None
    store = DirectoryStore(Path(file.store))
    if (done := store.lookup(file.prepared.key)) is None:
        code = carry_out(context_of(file))
        if code != ExitCode.DONE:
            raise RuntimeError(f"stage {file.stage} ended with {code}; see the lines above")
        done = store.lookup(file.prepared.key)
    assert done is not None
    return store.directory(done.uri)
