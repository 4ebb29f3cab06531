"""Builders of artifacts for tests: a directory with files, published under a key."""

from pathlib import Path

from acereason_trainer.artifacts.hashing import hash_tree
from acereason_trainer.artifacts.manifest import Producer
from acereason_trainer.artifacts.states import OpenState
from acereason_trainer.artifacts.store import DirectoryStore
from acereason_trainer.config.sources import ArtifactRef
from acereason_trainer.config.stage_file import ArtifactKind, PublishedArtifact

FILES = {"config.json": b"{}", "weights/a.bin": b"a" * 3000, "weights/b.bin": b"b" * 10}
KEY = "mathRL-" + "1" * 32
"""Of the stage whose states are saved."""


def a_key(number: int, kind: str = "sft") -> str:
    """A stage key."""
    return f"{kind}-{number:032x}"


def a_directory(path: Path, files: dict[str, bytes] | None = None) -> Path:
    """A directory with files in it."""
    for name, content in (FILES if files is None else files).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def published(
    store: DirectoryStore,
    number: int = 1,
    files: dict[str, bytes] | None = None,
    *,
    parents: dict[str, str] | None = None,
    stage: str = "sft",
    kind: ArtifactKind = "model",
    records: tuple[str, ...] = (),
) -> PublishedArtifact:
    """An artifact in the store, as stage `stage` of run `run` published it."""
    source = a_directory(store.root / "work" / "run" / stage / "1" / f"export-{number}", files)
    return store.publish(
        source,
        key=a_key(number),
        kind=kind,
        records=records,
        parents=parents or {},
        producer=Producer(run="run", stage=stage, attempt=1, stage_kind="sft"),
        step=number,
    )


def ref_to(artifact: PublishedArtifact) -> ArtifactRef:
    """How a stage file names an artifact."""
    return ArtifactRef(uri=artifact.uri, digest=artifact.digest)


def write_state(work_dir: Path, key: str, step: int, salt: int = 0, content: bytes = b"w") -> Path:
    """A whole state with one file, `weights`; returns its directory."""
    state = OpenState(work_dir, key, step, salt)
    (state.directory / "weights").write_bytes(content)
    state.commit(hash_tree(state.directory))
    return work_dir / "states" / f"{step:08d}"


def save(
    store: Path, attempt: int, step: int, *, key: str = KEY, salt: int = 0, stage: str = "rl"
) -> Path:
    """A whole state of an attempt of run `run`; returns its directory."""
    work_dir = store / "work" / "run" / stage / str(attempt)
    return write_state(work_dir, key, step, salt, f"{attempt} {step}".encode())
